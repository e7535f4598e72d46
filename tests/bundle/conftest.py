# SPDX-License-Identifier: Apache-2.0
"""A small bundle on disk, to be bent by each test."""

from __future__ import annotations

import json
import pdb
import sys

import pytest
import torch
from monai.networks.nets import BasicUNet
from trust_tools import Canary

NETWORK = {
    "_target_": "BasicUNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "features": [4, 4, 4, 4, 4, 4],
}


def metadata(channels=1, classes=2, shape=(32, 32), value_range=(0, 1)):
    """Return the least that a bundle's metadata must say."""
    image = {"num_channels": channels, "spatial_shape": list(shape), "value_range": list(value_range)}
    pred = {"num_channels": classes, "spatial_shape": list(shape), "channel_def": {"0": "background", "1": "gland"}}
    return {"version": "0", "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}


@pytest.fixture
def make_bundle(tmp_path):
    """Return a function that writes a bundle with the given network_def, config ids and metadata."""

    def make(name="teacher", network=NETWORK, weights=True, meta=None, **config):
        root = tmp_path / name
        (root / "configs").mkdir(parents=True)
        (root / "models").mkdir()
        (root / "configs" / "metadata.json").write_text(json.dumps(meta or metadata()))
        (root / "configs" / "inference.json").write_text(json.dumps({"network_def": network, **config}))
        if weights:
            torch.manual_seed(1)
            state = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(4, 4, 4, 4, 4, 4)).state_dict()
            torch.save(state, root / "models" / "model.pt")
        return root

    return make


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A hostile bundle in the working folder; whatever of it runs leaves a file."""
    made = Canary(tmp_path)
    monkeypatch.chdir(tmp_path)
    # as python -m does
    monkeypatch.syspath_prepend("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pdb, "runcall", lambda *_, **__: made.file.write_text("pdb"))
    monkeypatch.setattr("builtins.breakpoint", lambda *_, **__: made.file.write_text("breakpoint"))

    def offline(*_, **__):
        made.file.write_text("network")
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.create_connection", offline)
    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    yield made
    for name in list(sys.modules):
        if name.split(".")[0] in ("evil", "evilnet", "apex"):
            del sys.modules[name]
