# SPDX-License-Identifier: Apache-2.0
"""Draw the weights of one bundle's network with a fixed seed and save them as its ``models/model.pt``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from akd_monai.bundle import build_network

__all__ = ["main"]


def main(bundle: str) -> None:
    """Draw and save; the bundle is trusted."""
    torch.manual_seed(0)
    # some configs name their files from the bundle's folder
    os.chdir(bundle)
    network = build_network(Path.cwd(), trust_bundle=True)
    torch.save(network.state_dict(), Path("models", "model.pt"))


if __name__ == "__main__":
    main(sys.argv[1])
