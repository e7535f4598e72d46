# SPDX-License-Identifier: Apache-2.0
"""A light student of anyone's bundle: the teacher's configs with another network, which fits, trains and is distilled."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow
from monai.networks import nets
from zoo_style_tools import draw_weights, metadata, train_json, train_yaml, unet, write_shapes, write_teacher

from akd_monai.__main__ import main
from akd_monai.bundle import build_network, new_bundle, output_activation, read_metadata
from akd_monai.bundle._new_light import LIGHT
from akd_monai.errors import InputError


def read(root: Path, name: str) -> dict:
    return yaml.safe_load((root / "configs" / name).read_text(encoding="utf-8"))


def plain_run(root: Path, suffix: str, data: Path, run_id: str = "run") -> None:
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / f"train.{suffix}"), workflow_type="train", bundle_root=str(root),
        dataset_dir=str(data), logging_file=False, run_id=run_id,
    )  # fmt: skip
    workflow.initialize()
    workflow.run()


def teacher_of(tmp_path: Path, name: str = "big", **kind) -> Path:
    dims, channels, classes = (kind.get(n, default) for n, default in (("dims", 3), ("channels", 1), ("classes", 2)))
    train = train_json(dims, channels, classes, sigmoid=kind.get("sigmoid", False))
    train.update(kind.get("changes", {}))
    return write_teacher(tmp_path / name, train, metadata(dims, channels, classes, kind.get("shape")))


def test_configs_are_the_teachers_but_for_the_network(tmp_path):
    teacher = teacher_of(tmp_path)
    root = new_bundle("light", "BasicUNet", bundles_dir=tmp_path, like=teacher)
    ours, theirs = read(root, "train.json"), read(teacher, "train.json")
    assert ours.pop("network_def") == {
        "_target_": "BasicUNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "features": [8, 8, 16, 32, 64, 8],
    }
    assert theirs.pop("network_def")["_target_"] == "UNet"
    assert (ours.pop("bundle_root"), theirs.pop("bundle_root")) == (".", "/somewhere/else")
    assert ours == theirs
    assert read(root, "inference.json")["network_def"] == read(root, "train.json")["network_def"]
    assert (root / "LICENSE").read_text() == "Somebody's licence"
    assert sorted(p.name for p in root.iterdir()) == ["LICENSE", "configs", "docs", "models"]
    assert list((root / "models").iterdir()) == []


def test_metadata_are_the_teachers_task_and_the_students_own_facts(tmp_path):
    teacher = teacher_of(tmp_path)
    root = new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher)
    ours, theirs = read_metadata(root), read_metadata(teacher)
    for name in ("task", "authors", "copyright", "network_data_format", "monai_version"):
        assert ours[name] == theirs[name]
    assert (ours["name"], ours["version"], ours["eval_metrics"]) == ("light", "0.1.0", {})
    assert ours["required_packages_version"] == {}
    # by hand: three strided levels, the third ends at 1/8
    assert ours["distillation_layers"] == {"low": "model.0", "high": "model.1.submodule.1.submodule.0"}
    readme = (root / "docs" / "README.md").read_text()
    assert "--teacher_layer model.1.submodule.1.submodule.0" in readme
    parameters = sum(p.numel() for p in build_network(root).parameters())
    assert f"with {parameters:,} parameters" in readme
    assert output_activation(root) == output_activation(teacher) == "softmax"


KINDS = {
    "3D softmax": ("UNet", {}),
    "3D sigmoid": ("SegResNet", {"channels": 2, "classes": 3, "sigmoid": True}),
    "2D RGB": ("ENet", {"dims": 2, "channels": 3}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_student_trains_alone_and_is_distilled(tmp_path, capsys, kind):
    network, options = KINDS[kind]
    teacher = teacher_of(tmp_path, **options)
    draw_weights(teacher, build_network(teacher))
    parts = 3 if options.get("sigmoid") else 0
    data = write_shapes(tmp_path / "data", options.get("dims", 3), options.get("channels", 1), parts=parts)
    root = new_bundle("light", network, bundles_dir=tmp_path, like=teacher)
    plain_run(root, "json", data)
    alone = torch.load(root / "models" / "model.pt", weights_only=True)
    assert alone.keys() == build_network(root).state_dict().keys()
    layer = re.search(r"--teacher_layer (\S+)", (root / "docs" / "README.md").read_text())
    main([
        "distill", f"--teacher={teacher}", f"--student={root}", f"--dataset_dir={data}", f"--teacher_layer={layer[1]}",
        "--allow=agreement",
    ])  # fmt: skip
    capsys.readouterr()
    distilled = torch.load(root / "models" / "model.pt", weights_only=True)
    assert distilled.keys() == alone.keys()
    assert any(not torch.equal(distilled[name], alone[name]) for name in alone)


def test_yaml_keeps_numbers_that_can_be_overridden_and_drops_what_only_the_old_network_needed(tmp_path):
    teacher = write_teacher(tmp_path / "big", train_yaml(), metadata(3, 1, 2), suffix="yaml")
    root = new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher)
    train = read(root, "train.yaml")
    assert not (root / "configs" / "train.json").exists()
    assert train["network_def"]["out_channels"] == "@num_classes"
    # an expression is no number
    assert train["network_def"]["in_channels"] == 1
    assert list(train) == [name for name in read(teacher, "train.yaml") if name not in ("widths", "few")]
    plain_run(root, "yaml", write_shapes(tmp_path / "data", 3, 1), run_id="training")
    assert (root / "models" / "model.pt").is_file()


def test_ids_of_the_network_that_something_else_uses_stay(tmp_path):
    train = {**train_yaml(), "depth": "$len(@widths)"}
    teacher = write_teacher(tmp_path / "big", train, metadata(3, 1, 2), suffix="yaml")
    root = new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher)
    assert "widths" in read(root, "train.yaml")
    assert "few" not in read(root, "train.yaml")


def with_code(tmp_path: Path) -> Path:
    handler = {"_target_": "scripts.handlers.Mine"}
    teacher = teacher_of(tmp_path, changes={"extra": [handler]})
    (teacher / "scripts").mkdir()
    (teacher / "scripts" / "handlers.py").write_text("raise SystemExit('imported')\n")
    return teacher


def test_code_of_the_teacher_is_copied_if_trusted_and_never_imported(tmp_path):
    teacher = with_code(tmp_path)
    told = "import Python code of its own: scripts ('scripts.handlers.Mine' in train.json); pass --trust_bundle"
    with pytest.raises(InputError, match=re.escape(told)):
        new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher)
    assert not (tmp_path / "light").exists()
    root = new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher, trust_bundle=True)
    assert (root / "scripts" / "handlers.py").read_text() == "raise SystemExit('imported')\n"


def test_code_that_only_the_old_network_needs_is_left_there(tmp_path):
    network = {"_target_": "scripts.net.Net", "in_channels": 1, "out_channels": 2}
    teacher = teacher_of(tmp_path, changes={"network_def": network})
    (teacher / "scripts").mkdir()
    (teacher / "scripts" / "net.py").write_text("")
    root = new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher)
    assert not (root / "scripts").exists()
    readme = (root / "docs" / "README.md").read_text()
    assert "none of the teacher is proposed (" in readme
    assert "'scripts.net.Net'" in readme


def test_lists_of_data_that_a_config_names_are_copied(tmp_path):
    teacher = teacher_of(tmp_path, changes={"datalist": "$@bundle_root + '/configs/folds.json'"})
    (teacher / "configs" / "folds.json").write_text('{"training": []}')
    (teacher / "configs" / "search.json").write_text("{}")
    root = new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher)
    names = {p.name for p in (root / "configs").iterdir()}
    assert names == {"train.json", "inference.json", "metadata.json", "logging.conf", "folds.json"}


def no_training(teacher: Path) -> None:
    (teacher / "configs" / "train.json").unlink()


def change(teacher: Path, file: str, **changes) -> None:
    path = teacher / "configs" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def several_outputs(teacher: Path) -> None:
    meta = read_metadata(teacher)
    meta["network_data_format"]["outputs"]["distance"] = {"num_channels": 2}
    change(teacher, "metadata.json", **meta)


def prompts(teacher: Path) -> None:
    meta = metadata(3, 1, 5)
    meta["network_data_format"]["outputs"]["pred"]["num_channels"] = 1
    change(teacher, "metadata.json", **meta)


MISTAKES = [
    (no_training, {}, "has no configs/train.json or train.yaml, so it is not known how its data are read"),
    (several_outputs, {}, "has 2 outputs (pred, distance), and its training needs all of them"),
    (prompts, {}, "gives 1 channel for 5 classes, so it is told by a prompt which class is wanted"),
    (lambda t: change(t, "train.json", network_def="$f()"), {}, "has no network_def with a _target_"),
    (lambda t: change(t, "train.json", network_def=unet(3, 1, 4)), {}, "has out_channels 4 in train.json and 2 channels in"),
    (
        lambda t: change(t, "train.json", extra="$@network.encoder"),
        {},
        "train.json of the teacher uses '@network.encoder' (in '$@network.encoder'), which a network of another class",
    ),
    (
        lambda t: change(t, "train.json", extra="@network_def#strides"),
        {"network": "BasicUNet"},
        "uses '@network_def#strides'",
    ),
    (None, {"network": "ENet"}, "ENet takes slices, and the network of bundle"),
    (None, {"network": "UNnet"}, "'UNnet' does not exist"),
    (None, {"network_args": "width=3"}, "network_args must be a dictionary"),
    (None, {"high": "nothing"}, "high 'nothing' is no layer of UNet that gives a map"),
    (None, {"in_channels": 2, "task": "x"}, "in_channels, task and like exclude each other"),
    (None, {"network": "BasicUNetPlusPlus"}, "BasicUNetPlusPlus returns a list, wanted one tensor"),
    (
        None,
        {"network_args": {"channels": [4] * 6, "strides": [2] * 5}},
        "UNet does not take images of 32 x 32 x 32",
    ),
    (None, {"like": "nowhere"}, "bundle folder 'nowhere' does not exist"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "options", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_what_stands_in_the_way_is_one_line_and_nothing_is_written(tmp_path, damage, options, message):
    teacher = teacher_of(tmp_path)
    if damage is not None:
        damage(teacher)
    options = {"network": "UNet", "like": teacher, **options}
    with pytest.raises(InputError, match=re.escape(message)):
        new_bundle("light", bundles_dir=tmp_path, **options)
    assert not (tmp_path / "light").exists()


def test_sizes_that_work_are_named(tmp_path):
    crop = {"_target_": "RandSpatialCropd", "keys": ["image", "label"], "roi_size": [20, 24, 16]}
    train = train_json(3, 1, 2)
    train["train"]["random_transforms"] = [crop]
    teacher = write_teacher(tmp_path / "big", train, metadata(3, 1, 2))
    # 20 is no multiple of 8: 3 levels; rounded up, 24 x 24 x 16 is
    with pytest.raises(InputError, match=r"20 x 24 x 16 .*multiples of 8 work, such as 24 x 24 x 16: change the crop"):
        new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher)
    args = {"channels": [4, 8, 8], "strides": [2, 2]}
    assert new_bundle("light", "UNet", bundles_dir=tmp_path, like=teacher, network_args=args).is_dir()


def test_teachers_named_layer_is_used_and_the_students_matches_it(tmp_path):
    teacher = teacher_of(tmp_path)
    # by hand: model.1.submodule.0 of the teacher is at 1/4
    change(teacher, "metadata.json", distillation_layers={"high": "model.1.submodule.0"})
    root = new_bundle("light", "SegResNet", bundles_dir=tmp_path, like=teacher)
    assert "--teacher_layer model.1.submodule.0" in (root / "docs" / "README.md").read_text()
    assert read_metadata(root)["distillation_layers"]["high"] == "down_layers.2"


def test_verb(tmp_path, capsys):
    teacher = teacher_of(tmp_path)
    main(["new_bundle", "--name=light", "--network=UNet", f"--bundles_dir={tmp_path}", f"--like={teacher}"])
    assert "Written: " in capsys.readouterr().out


@pytest.mark.parametrize("network", LIGHT)
def test_parameters_of_the_light_networks_are_those_of_the_page(network):
    page = Path(__file__).parents[2].joinpath("docs", "how-to", "add-network.md").read_text()
    counts = []
    for dims in (2, 3):
        built = getattr(nets, network)(spatial_dims=dims, in_channels=1, out_channels=2, **LIGHT[network])
        counts.append(f"{sum(p.numel() for p in built.parameters()):,}")
    assert re.search(rf"\| `{network}` .*\| {counts[0]} \| {counts[1]} \|", page), counts
