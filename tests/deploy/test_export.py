# SPDX-License-Identifier: Apache-2.0
"""Every bundle of the project is exported, and its masks are those of MONAI's own inference."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import onnx
import pytest
import torch
from bundle_tools import small_bundle
from deploy_tools import bright_box, write_model
from monai.bundle import ConfigWorkflow
from monai.networks.nets import BasicUNet

from akd_monai.bundle import build_network, evaluate_bundle, weights_sha256
from akd_monai.data.geometry import turned_to
from akd_monai.deploy import export as export_module
from akd_monai.deploy import export_bundle, segment
from akd_monai.errors import BundleError, InputError
from akd_monai.prostate import make_phantom

# drawn weights and noise give masks of single voxels, where a wrong grid shows everywhere and a tie by rounding once
TIES = 1e-3
PARTS = ("enet", "espnet", "erfnet", "deeplabv3plus", "unetplusplus")


def with_weights(root, seed=0):
    torch.manual_seed(seed)
    network = build_network(root).eval()
    _balance(network)
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


def _balance(network):
    """Shift the bias of the head, where it has one, so that drawn weights do not mark everything or nothing."""
    biases = [value for name, value in network.named_parameters() if name.endswith("bias") and value.shape == (2,)]
    with torch.no_grad():
        logits = network(torch.randn(2, 1, 32, 32))
        if biases:
            biases[-1][1] -= (logits[:, 1] - logits[:, 0]).median()


def write_volumes(folder):
    """Write noise on grids that are straight, flipped, oblique and permuted, of odd sizes, isotropic and not."""
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, -s, 0, 5.0], [s, c, 0, -7], [0, 0, 1, 9], [0, 0, 0, 1]])
    folder.mkdir()
    for number, (shape, sizes, codes) in enumerate([
        ((45, 38, 5), (0.6, 0.6, 3), "RAS"),
        ((31, 32, 3), (1.0, 0.7, 4), "LPS"),
        ((32, 32, 4), (1, 1, 1), "SAR"),
        ((64, 20, 1), (0.5, 0.9, 6), "LAI"),
    ]):  # fmt: skip
        volume = np.random.default_rng(number).normal(100, 20, shape).astype(np.float32)
        affine = (turn if number % 2 else np.eye(4)) @ np.diag([*sizes, 1.0])
        array, affine, _ = turned_to(volume, affine, codes)
        nib.save(nib.Nifti1Image(array, affine), folder / f"{codes}.nii.gz")
    return folder


def masks_by_monai(root, volumes, output, **override):
    """Run a bundle's inference config as ``python -m monai.bundle run`` does."""
    workflow = ConfigWorkflow(
        str(root / "configs" / "inference.json"), str(root / "configs" / "metadata.json"), None, workflow_type="infer",
        bundle_root=str(root), dataset_dir=str(volumes), output_dir=str(output), **override,
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    return {path.name: np.asarray(nib.load(path).dataobj) for path in sorted(output.glob("*.nii.gz"))}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_masks_are_those_of_monai_voxel_for_voxel(part, tmp_path):
    root = with_weights(small_bundle(part, tmp_path / "bundle"))
    done = export_bundle(root)
    assert all(comparison.largest_logit_difference < 1e-4 for comparison in done.comparisons)
    volumes = write_volumes(tmp_path / "in")
    expected = masks_by_monai(root, volumes, tmp_path / "monai")
    assert len(expected) == 4
    assert 0 < np.mean([mask.mean() for mask in expected.values()]) < 1
    for comparison in done.comparisons:
        engine = comparison.engine.split()[0]
        found = segment(volumes, tmp_path / engine, model=root, engine=engine, threads=1)
        assert len(found) == 4
        for each in found:
            other = np.asarray(nib.load(each.mask).dataobj) != expected[each.mask.name]
            assert other.mean() <= TIES


@pytest.mark.slow
def test_a_foreign_3d_bundle_by_sliding_windows(tmp_path):
    root = write_3d_bundle(tmp_path)
    done = export_bundle(root)
    for comparison in done.comparisons:
        assert comparison.voxels > 0
        assert comparison.differing_voxels <= TIES * comparison.voxels


def write_3d_bundle(tmp_path):
    network = {"_target_": "BasicUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "features": [4] * 6}
    root = tmp_path / "light_3d"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    image = {"keys": "image"}
    inference = {
        "network_def": network,
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **image},
                {"_target_": "EnsureChannelFirstd", **image},
                {"_target_": "Orientationd", **image, "axcodes": "RAS"},
                {"_target_": "Spacingd", **image, "pixdim": [1.0, 1.0, 2.0], "mode": "bilinear"},
                {"_target_": "ScaleIntensityd", **image},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "sw_batch_size": 2, "overlap": 0.5,
                    "mode": "gaussian"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
                 "nearest_interp": False},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    }  # fmt: skip
    tensor = {"type": "image", "spatial_shape": [32, 32, 32], "dtype": "float32"}
    metadata = {
        "version": "0.0.1",
        "network_data_format": {
            "inputs": {"image": {**tensor, "num_channels": 1}},
            "outputs": {"pred": {**tensor, "num_channels": 2, "channel_def": {"0": "background", "1": "spleen"}}},
        },
    }
    (root / "configs" / "inference.json").write_text(json.dumps(inference))
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.manual_seed(0)
    torch.save(BasicUNet(3, 1, 2, features=[4] * 6).state_dict(), root / "models" / "model.pt")
    return root


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = with_weights(small_bundle("erfnet", tmp_path_factory.mktemp("export") / "bundle"))
    return root, export_bundle(root, pt2=True)


@pytest.mark.slow
def test_a_program_of_pytorch_beside_it_needs_no_code_of_the_network(exported):
    root, done = exported
    (program,) = [entry for entry in done.comparisons if entry.engine.startswith("pt2 ")]
    assert program.largest_logit_difference < 1e-5
    assert program.differing_voxels == 0
    loaded = torch.export.load(str(root / "models" / "model.pt2")).module()
    x = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    network = build_network(root).eval()
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), network(x))


@pytest.mark.slow
def test_one_file_is_enough(exported):
    root, done = exported
    entries = {entry.key: json.loads(entry.value) for entry in onnx.load(str(done.file)).metadata_props}
    assert done.file == root / "models" / "model.onnx"
    assert entries["akd_monai.weights_sha256"] == weights_sha256(root)
    assert entries["akd_monai.class_names"] == ["background", "prostate"]
    assert entries["akd_monai.inferer"]["roi_size"] == [32, 32]
    assert entries["akd_monai.network"] == "ERFNet"
    assert int(entries["akd_monai.opset"]) >= 18
    report = json.loads(done.report.read_text())
    assert report["comparisons"][0]["differing_voxels"] == 0
    assert report["weights_sha256"] == weights_sha256(root)
    # no path of this machine in either
    assert str(root) not in done.report.read_text()
    assert str(root).encode() not in done.file.read_bytes()


@pytest.mark.slow
def test_an_exported_network_that_is_wrong_leaves_no_file(exported, tmp_path, monkeypatch):
    root, _ = exported
    written = export_module.write_onnx

    def with_other_weights(network, *arguments):
        for parameter in network.parameters():
            parameter.data.mul_(1.01)
        opset = written(network, *arguments)
        for parameter in network.parameters():
            parameter.data.div_(1.01)
        return opset

    monkeypatch.setattr(export_module, "write_onnx", with_other_weights)
    with pytest.raises(BundleError, match=r"was not exported: \w+ [\d.]+: logits differ by "):
        export_bundle(root, output_file=tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_torch_engine_makes_the_same_mask(exported, tmp_path):
    root, _ = exported
    bright_box(tmp_path / "t2.nii.gz", shape=(40, 30, 3), box=((6, 25), (5, 20), (1, 3)))
    masks = []
    for engine in ("torch", "onnxruntime"):
        (done,) = segment(tmp_path / "t2.nii.gz", tmp_path / engine, model=root, engine=engine)
        masks.append(np.asarray(nib.load(done.mask).dataobj))
    np.testing.assert_array_equal(*masks)


@pytest.mark.slow
def test_the_exported_network_in_monais_own_inference(exported, tmp_path):
    root, done = exported
    volumes = write_volumes(tmp_path / "in")
    expected = masks_by_monai(root, volumes, tmp_path / "torch")
    instead = {"_target_": "akd_monai.deploy.ExportedNetwork", "path": str(done.file), "engine": "onnxruntime"}
    found = masks_by_monai(root, volumes, tmp_path / "onnx", network_def=instead)
    assert found.keys() == expected.keys()
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected[name])


@pytest.mark.slow
def test_evaluate_gives_the_same_table_with_the_exported_network(exported, tmp_path):
    root, done = exported
    data = make_phantom(tmp_path / "data", cases_per_site=3, sites=["RUNMC"], size=32, slices=4, seed=0, progress=False)
    tables = []
    network = {"_target_": "akd_monai.deploy.ExportedNetwork", "path": str(done.file), "engine": "onnxruntime"}
    for name, override in (("torch", {}), ("onnx", {"network_def": network})):
        found = evaluate_bundle(root, dataset_dir=str(data), output_dir=str(tmp_path / name), **override)
        # but for where it was written
        tables.append(str(found).replace(str(tmp_path / name), ""))
    assert tables[0] == tables[1]
    assert "mean_dice" in tables[0]
    scores = [np.genfromtxt(tmp_path / name / "per_case.csv", delimiter=",", names=True) for name in ("torch", "onnx")]
    assert len(scores[0].dtype.names) > 3
    for name in scores[0].dtype.names:
        np.testing.assert_allclose(scores[1][name], scores[0][name], rtol=1e-4)


def test_networks_of_other_weights_beside_it_are_named(tmp_path):
    """An engine is given such a file by its path, and nobody would see that it is of an earlier training."""
    target = tmp_path / "model.onnx"
    for name, weights in (("int8", '"old"'), ("fp16", '"new"'), ("bf16", None)):
        changes = {} if weights is None else {"weights_sha256": weights}
        write_model(tmp_path / f"model-{name}.onnx", **changes)
    (tmp_path / "model-int4.onnx").write_bytes(b"no network")
    found = export_module._of_other_weights(target, "new")
    assert [path.name for path in found] == ["model-bf16.onnx", "model-int4.onnx", "model-int8.onnx"]


def test_refusals(tmp_path):
    root = small_bundle("enet", tmp_path / "bundle")
    with pytest.raises(InputError, match=r"has no weights \(models/model.pt\)"):
        export_bundle(root)
    # both are found out before the network is exported, and before weights are looked for
    with pytest.raises(InputError, match=r"'.*nix'.* does not exist"):
        export_bundle(root, volumes=tmp_path / "nix")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        export_bundle(root, output_file=tmp_path / "file" / "model.onnx")
    with pytest.raises(InputError, match=r"output_file must end in .onnx, got 'model.pt'"):
        export_bundle(root, output_file="model.pt")
    config = json.loads((root / "configs" / "inference.json").read_text())
    config["network_def"] = "$my_code.network()"
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    with_pt = root / "models" / "model.pt"
    torch.save({}, with_pt)
    with pytest.raises(InputError, match=r"the expression .* in 'network_def', which would run as code") as caught:
        export_bundle(root)
    assert caught.value.code == "untrusted"
