# SPDX-License-Identifier: Apache-2.0
"""Distillation as a MONAI bundle workflow: the student's own training with an overlay."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from akd_monai.bundle.compare import compare_bundles
from akd_monai.bundle.metadata import bundle_path, weights_path
from akd_monai.errors import InputError, UnknownNameError, near_matches

logger = logging.getLogger(__name__)
GENERIC_OVERLAY = Path(__file__).with_name("distill.json")


class DistillationWorkflow(ConfigWorkflow):
    """Train a student bundle under the eyes of a teacher bundle, both unmodified.

    The student's ``configs/train.json`` is merged with an overlay that replaces the trainer and adds teacher and
    criterion: the student's own ``configs/distill.json`` where it has one, else the overlay of this package, which works
    with any bundle that uses the standard ids (``network_def``, ``device``, ``train#trainer``).

    It is a :class:`monai.bundle.ConfigWorkflow`, so ``initialize``, ``run``, ``finalize`` and ``check_properties`` are
    MONAI's.

    Args:
        teacher_bundle: folder of the teacher, with weights in ``models/model.pt``.
        student_bundle: folder of the student.
        overlay: an overlay of your own in place of the two above.
        teacher_weights: other weights than the teacher's ``models/model.pt``.
        tracking: as in :class:`monai.bundle.ConfigWorkflow`.
        override: config values by id, as on MONAI's command line: ``{"train#trainer#max_epochs": 5}``. An id that no
            config has is refused.

    Raises:
        InputError: when a folder is no bundle, the two do not fit, or the teacher has no weights.
        UnknownNameError: when an override hits nothing.
    """

    def __init__(
        self,
        teacher_bundle: str | Path,
        student_bundle: str | Path,
        *,
        overlay: str | Path | None = None,
        teacher_weights: str | Path | None = None,
        tracking: str | dict | None = None,
        **override: Any,
    ) -> None:
        for warning in compare_bundles(teacher_bundle, student_bundle):
            logger.warning("%s.", warning)
        if teacher_weights is None:
            weights_path(teacher_bundle)
        configs = distillation_configs(student_bundle, overlay)
        values = {
            "bundle_root": str(Path(student_bundle).resolve()),
            "teacher_bundle": str(Path(teacher_bundle).resolve()),
            "teacher_weights": None if teacher_weights is None else str(Path(teacher_weights).resolve()),
            **override,
        }
        check_overrides(configs, values)
        super().__init__(
            config_file=[str(c) for c in configs],
            meta_file=str(bundle_path(student_bundle, "configs", "metadata.json")),
            logging_file=_logging_file(student_bundle),
            workflow_type="train",
            tracking=tracking,
            **values,
        )


def distillation_configs(student_bundle: str | Path, overlay: str | Path | None = None) -> list[Path]:
    """Return the config files of a distillation run, in the order in which they are merged."""
    train = next(
        (
            p
            for p in (bundle_path(student_bundle, "configs", f"train{e}") for e in (".json", ".yaml", ".yml"))
            if p.is_file()
        ),
        None,
    )
    if train is None:
        raise InputError(
            f"bundle {str(student_bundle)!r} has no configs/train.json, so there is no training to add a teacher to."
        )
    own = bundle_path(student_bundle, "configs", "distill.json")
    chosen = Path(overlay) if overlay else own if own.is_file() else GENERIC_OVERLAY
    if not chosen.is_file():
        raise InputError(
            f"overlay {str(overlay)!r} does not exist; leave it out to use the bundle's or the package's own."
        )
    return [train, chosen]


def check_overrides(configs: list[Path], override: Mapping[str, Any]) -> None:
    """Refuse overrides of ids that the configs do not have: MONAI would take them in silence and ignore them.

    Raises:
        UnknownNameError: naming the id and those that resemble it.
    """
    parser = ConfigParser()
    parser.read_config([str(c) for c in configs])
    known = [str(key) for key in parser.get()]
    for name in override:
        # the parent must exist: an argument of a component that is left at its default may be added
        parent = "::".join(name.replace("#", "::").split("::")[:-1])
        exists = parent in parser if parent else name in parser
        if not exists:
            raise UnknownNameError(
                f"the configs have no id {name!r} to override.{near_matches(name, known)} "
                f"Ids of the first level: {', '.join(sorted(known))}."
            )


def _logging_file(bundle: str | Path) -> str | bool:
    path = bundle_path(bundle, "configs", "logging.conf")
    return str(path) if path.is_file() else False
