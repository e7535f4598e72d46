# SPDX-License-Identifier: Apache-2.0
"""Loading a teacher: what is loaded, what is refused, what is left untouched."""

from __future__ import annotations

import copy
import json
import logging

import pytest
import torch

from akd_monai.bundle import find_code, find_problems, load_network
from akd_monai.errors import InputError

NETWORK = {"_target_": "BasicUNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "features": [4] * 6}


def test_network_is_frozen_and_holds_the_saved_weights(make_bundle):
    root = make_bundle()
    network = load_network(root)
    saved = torch.load(root / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_loading_leaves_random_state_and_logging_alone(make_bundle):
    root = make_bundle(initialize=["$__import__('torch').manual_seed(99)"])
    torch.manual_seed(5)
    handlers = list(logging.getLogger().handlers)
    before = torch.get_rng_state()
    load_network(root)
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger().handlers == handlers


def test_references_of_network_def_are_followed(make_bundle):
    network = load_network(make_bundle(network={**NETWORK, "features": "@widths"}, widths=[4, 4, 4, 4, 4, 4]))
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "module."])
def test_common_wrapper_keys_are_stripped(make_bundle, wrapper):
    root = make_bundle()
    path = root / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    wrapped = {f"module.{k}": v for k, v in state.items()} if wrapper == "module." else {wrapper: state}
    torch.save(wrapped, path)
    loaded = load_network(root).state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())


def test_missing_weights_are_named_with_the_remedy(make_bundle):
    with pytest.raises(InputError, match=r"has no weights \(models/model.pt\): train it first, or name a file"):
        load_network(make_bundle(weights=False))


def test_weights_of_another_network_are_counted(make_bundle):
    root = make_bundle(network={**NETWORK, "features": [8, 8, 8, 8, 8, 8]})
    with pytest.raises(
        InputError, match=r"do not fit BasicUNet: 0 keys missing \[\], 0 unexpected \[\], \d+ of another shape"
    ):
        load_network(root)


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "an empty weights file",
    injected="a state dict without entries",
    outcome="refused",
)
def test_empty_state_dict_does_not_pass_as_loaded(make_bundle):
    root = make_bundle()
    torch.save({}, root / "models" / "model.pt")
    with pytest.raises(InputError, match=r"do not fit BasicUNet: [1-9]\d* keys missing"):
        load_network(root)


def test_pickled_code_is_refused(make_bundle, tmp_path):
    root = make_bundle()
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"weights": Evil()}, root / "models" / "model.pt")
    with pytest.raises(InputError, match="cannot be read as tensors only"):
        load_network(root)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {**NETWORK, "out_channels": "$__import__('pathlib').Path('{marker}').touch() or 2"},
            "which would run as code",
        ),
        (
            {"_target_": "os.mkdir", "path": "{marker}"},
            "has the target 'os.mkdir' in 'network_def', which is no network class",
        ),
        ({"_target_": "torch.nn.modules.module.functools.partial", "func": "x"}, "which is no network class"),
        ("@elsewhere", "which is no network class"),
    ],
    ids=["expression", "target", "roundabout target", "behind a reference"],
)
def test_config_that_would_run_code_is_refused(make_bundle, tmp_path, network, message):
    marker = tmp_path / "ran"
    network = copy.deepcopy(network)
    if isinstance(network, dict):
        network = {k: v.replace("{marker}", str(marker)) if isinstance(v, str) else v for k, v in network.items()}
    root = make_bundle(network=network, elsewhere={"_target_": "os.mkdir", "path": str(marker)})
    with pytest.raises(InputError, match=message):
        load_network(root)
    assert not marker.exists()


def test_a_macro_hides_no_code(make_bundle, tmp_path):
    marker = tmp_path / "ran"
    hidden = {"_target_": "os.mkdir", "path": str(marker)}
    (tmp_path / "other.json").write_text(json.dumps({"net": "%hidden", "hidden": hidden, "code": "$1 + 1"}))
    for number, network in enumerate(["%hidden", {**NETWORK, "out_channels": f"%{tmp_path}/other.json#code"}]):
        root = make_bundle(f"macro {number}", network=network, hidden=hidden)
        with pytest.raises(InputError, match=r"which is no network class|which would run as code"):
            load_network(root)
    # what a macro gives may be a macro again
    root = make_bundle("nested", network=f"%{tmp_path}/other.json#net", hidden=hidden)
    with pytest.raises(InputError, match="which would run as code"):
        load_network(root)
    assert not marker.exists()


def test_a_macro_of_plain_values_is_replaced(make_bundle):
    network = load_network(make_bundle(network={**NETWORK, "features": "%widths"}, widths=[4] * 6))
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 2, 32, 32)


def test_imports_of_a_bundle_are_not_run(make_bundle, tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    (tmp_path / "module_of_the_bundle.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    root = make_bundle(imports=["$import module_of_the_bundle"])
    load_network(root)
    assert not marker.exists()
    load_network(root, trust_bundle=True)
    assert marker.exists()


def test_a_broken_config_is_named_with_the_line(make_bundle):
    root = make_bundle()
    (root / "configs" / "inference.json").write_text('{"network_def": }')
    with pytest.raises(InputError, match=r"inference.json: is no valid JSON \(.* line 1 column 17"):
        load_network(root)


def test_trusted_expressions_are_evaluated(make_bundle):
    root = make_bundle(network={**NETWORK, "out_channels": "$1 + 1"})
    assert load_network(root, trust_bundle=True)(torch.zeros(1, 1, 32, 32)).shape[1] == 2


def test_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(
        InputError, match=r"has no configs/metadata.json; give the folder that holds configs/ and models/"
    ):
        load_network(tmp_path)


def test_bundle_without_network_def(make_bundle):
    root = make_bundle()
    (root / "configs" / "inference.json").write_text("{}")
    with pytest.raises(InputError, match="has no network_def; name the network so"):
        load_network(root)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_network_in_the_config_that_all_share_is_found(make_bundle, suffix):
    root = make_bundle("divided")
    expected = load_network(root)
    inference = json.loads((root / "configs" / "inference.json").read_text())
    # JSON is YAML
    common = {"network_def": inference.pop("network_def"), "width": 4}
    common["network_def"]["features"] = ["@width"] * 6
    (root / "configs" / f"common.{suffix}").write_text(json.dumps(common))
    (root / "configs" / "inference.json").write_text(json.dumps({**inference, "network": "@network_def"}))
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(load_network(root)(image), expected(image))
    assert not [problem for problem in find_problems(root) if "'network_def'" in problem]
    (root / "configs" / "inference.json").write_text(json.dumps({**inference, "width": 8}))
    with pytest.raises(InputError, match="do not fit"):
        load_network(root)
    (root / "configs" / "inference.json").unlink()
    assert torch.equal(load_network(root)(image), expected(image))


def test_a_shared_config_needs_trust_as_any(make_bundle):
    root = make_bundle("divided")
    (root / "configs" / "inference.json").write_text("{}")
    (root / "configs" / "common.json").write_text(json.dumps({"network_def": {"_target_": "scripts.net.Net"}}))
    with pytest.raises(InputError, match=r"common\.json with inference\.json .*scripts\.net\.Net"):
        load_network(root)
    assert any(line.startswith("network: common.json") for line in find_code(root))
