# SPDX-License-Identifier: Apache-2.0
"""Tags of a run: versions of the packages, commit of the working folder, fingerprint of the data."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import akd_monai
from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers._record_facts import data_facts
from akd_monai.handlers.run_record import RunRecord
from akd_monai.networks.profile.machine import machine_facts

__all__ = ["data_tags", "version_tags"]

_VERSIONS = {
    "akd_monai": "akd_monai",
    "monai": "monai",
    "torch": "torch",
    "pytorch-ignite": "ignite",
    "python": "python",
}
_COMMIT = "git.commit"
_SECONDS = 10


def version_tags(folder: Path | None = None) -> dict[str, str]:
    """Return ``version.<package>`` of what decides a result, and the commit of a folder that is under git.

    ``version.akd_monai.commit`` is there where this package runs from a checkout, ``git.commit`` where the folder is in
    one, and ``git.changed`` is the number of tracked files that differ from it, where there are any, or ``"unknown"`` where
    git does not say.

    Args:
        folder: the working folder by default.
    """
    facts = machine_facts()
    tags = {f"version.{short}": str(facts[name]) for name, short in _VERSIONS.items()}
    package = Path(akd_monai.__file__).parent
    # an installed package may lie in a folder that is under git for other reasons
    own = _git(package, "rev-parse", "HEAD") if _git(package, "ls-files", "__init__.py") else None
    if own:
        tags["version.akd_monai.commit"] = own
    where = Path.cwd() if folder is None else folder
    commit = _git(where, "rev-parse", "HEAD")
    if not commit:
        return tags
    tags[_COMMIT] = commit
    changed = _git(where, "status", "--porcelain", "--untracked-files=no")
    if changed != "":
        tags["git.changed"] = "unknown" if changed is None else str(len(changed.splitlines()))
    return tags


def data_tags(trainer: Any) -> dict[str, str]:
    """Return the fingerprint of the cases of a training, as ``training.json`` has it; nothing without files."""
    recorded = [handler.data for handler in attached_handlers(trainer) if isinstance(handler, RunRecord)]
    # every file is read for it, once
    facts = next(filter(None, recorded), None) or data_facts(getattr(trainer, "data_loader", None))
    return {} if facts["cases"] is None else {"data_fingerprint": str(facts["cases"])}


def _git(folder: Path, *command: str) -> str | None:
    """Return what git says, None where there is no git, no repository or no commit, or where it takes too long."""
    # reading must not wait for, or hold up, a commit of the user
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
