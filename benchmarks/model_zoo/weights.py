# SPDX-License-Identifier: Apache-2.0
"""Draw the weights of one bundle's network with a fixed seed and save them as its ``models/model.pt`` or ``model.ts``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from akd_monai.bundle import build_network
from benchmarks.model_zoo.bundles import BUNDLES

__all__ = ["draw_network", "main"]


def draw_network(bundle: Path, overrides: Mapping[str, Any]) -> nn.Module:
    """Return the network of a trusted bundle, untrained.

    Args:
        bundle: its folder.
        overrides: ids of the config without which the network cannot be built; none as a rule.
    """
    torch.manual_seed(0)
    # some configs name their files from the bundle's folder
    os.chdir(bundle)
    if not overrides:
        return build_network(Path.cwd(), trust_bundle=True)
    from monai.bundle import ConfigParser

    from akd_monai.bundle._configs import config_path

    parser = ConfigParser(ConfigParser.load_config_file(config_path(bundle, "inference")))
    parser.update({"bundle_root": str(bundle), **overrides})
    network: nn.Module = parser.get_parsed_content("network_def")
    return network


def main(bundle: str) -> None:
    """Draw and save; the bundle is trusted."""
    folder = Path(bundle).resolve()
    spec = BUNDLES[folder.name]
    network = draw_network(folder, spec.network)
    if spec.scripted:
        image = torch.zeros(1, spec.channels, *[spec.side] * len(spec.spacing))
        exported = torch.jit.trace(network.eval(), image) if spec.traced else torch.jit.script(network.eval())
        exported.save(str(folder / "models" / "model.ts"))
    torch.save(network.state_dict(), folder / "models" / "model.pt")


if __name__ == "__main__":
    main(sys.argv[1])
