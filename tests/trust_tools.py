# SPDX-License-Identifier: Apache-2.0
"""A hostile bundle, and a canary: a file that appears as soon as anything of the bundle or the working folder runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser

from akd_monai.bundle import build_network, find_code, find_problems
from akd_monai.errors import InputError

PLAIN = {"_target_": "BasicUNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "features": [4] * 6}
MODULES = ("evil", "evilnet", "apex", "itk_evil")

_MODULE = """
open({canary!r}, "a").write(__name__ + "\\n")
from torch import nn
class Net(nn.Module):
    def __init__(self, **_):
        super().__init__()
def anything(**_):
    return Net()
"""


class Canary:
    """A working folder with a bundle ``evil`` in it, both full of modules that write a file when they are imported.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "canary"
        self.bundle = root / "evil"
        text = _MODULE.format(canary=str(self.file))
        for folder in (self.bundle / "configs", self.bundle / "models", self.bundle / "scripts", root / "apex"):
            folder.mkdir(parents=True)
        for name in ("__init__.py", "net.py"):
            (self.bundle / "scripts" / name).write_text(text)
        (self.bundle / "__init__.py").write_text(text)
        for name in ("evilnet.py", "apex/__init__.py", "apex/normalization.py"):
            (root / name).write_text(text)
        # what any attack may refer to; each of them runs if MONAI resolves it
        self.code = f"$open({str(self.file)!r}, 'a').write('expression')"
        self.target = {"_target_": "builtins.open", "file": str(self.file), "mode": "w"}
        for suffix, dump in (("json", json.dumps), ("yaml", yaml.safe_dump)):
            content = {
                "evil": self.code,
                "target": self.target,
                "again": "%evil",
                "net": {**PLAIN, "dropout": self.code},
            }
            (root / f"other.{suffix}").write_text(dump(content))
        self.write_metadata(evil=self.code)

    def write_metadata(self, **content: Any) -> None:
        """Write the bundle's metadata."""
        (self.bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "0", **content}))

    def write(self, config: Any, *, as_yaml: bool = False) -> None:
        """Make ``config`` the bundle's ``inference``; a string is written as it is."""
        for old in (self.bundle / "configs").glob("inference.*"):
            old.unlink()
        path = self.bundle / "configs" / ("inference.yaml" if as_yaml else "inference.json")
        if isinstance(config, str):
            path.write_text(config)
        else:
            path.write_text((yaml.safe_dump if as_yaml else json.dumps)(config))

    def attack(self) -> str:
        """Load, check and list the bundle, and return the refusal; ``""`` where the network was built."""
        try:
            find_problems(self.bundle)
            find_code(self.bundle)
        except InputError:
            pass
        message = ""
        try:
            build_network(self.bundle)
        except InputError as error:
            message = str(error)
        return message

    def assert_silent(self) -> None:
        """Nothing ran and nothing was imported."""
        assert not self.file.exists(), self.file.read_text()
        loaded = [name for name in sys.modules if name.split(".")[0] in MODULES or name in ("this", "antigravity")]
        assert loaded == []


def resolve_by_monai(canary: Canary) -> None:
    """Build the network as MONAI does, without any gate: to see that the canary can sing."""
    parser = ConfigParser()
    path = next((canary.bundle / "configs").glob("inference.*"))
    parser.read_config(str(path))
    parser.read_meta(str(canary.bundle / "configs" / "metadata.json"))
    parser.get_parsed_content("network_def")


def filled(content: Any, canary: Canary) -> Any:
    """Put the canary's own expression and target in their places."""
    if content == "CODE":
        return canary.code
    if content == "TARGET":
        return canary.target
    if isinstance(content, dict):
        return {key: filled(value, canary) for key, value in content.items()}
    return [filled(value, canary) for value in content] if isinstance(content, list) else content
