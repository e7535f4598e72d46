# SPDX-License-Identifier: Apache-2.0
"""Compression of bundles that know nothing of this package: students with their data handling, and what is refused."""

from __future__ import annotations

import pytest
from bundle_tools import FEATURES, small_bundle
from compress_tools import zoo_teacher
from zoo_style_tools import write_shapes

from akd_monai.bundle import build_network
from akd_monai.errors import InputError
from akd_monai.experiments import compress_bundle
from akd_monai.experiments._compress.cells import bundle_of, plan_cells
from akd_monai.experiments._compress.request import Request
from akd_monai.experiments._compress.students import named_students, put_students, put_teacher
from akd_monai.experiments._compress.teaching import Teaching, read_teaching
from akd_monai.experiments.compress import _planned


@pytest.fixture
def teacher(tmp_path):
    return zoo_teacher(tmp_path / "zoo")


def request_for(teacher, data, **changes):
    return Request(teacher, teacher / "models" / "model.pt", data, **changes)


def test_students_of_volumes_are_light_networks_in_the_teachers_configs(teacher, tmp_path):
    request = request_for(teacher, tmp_path)
    teaching = read_teaching(request)
    assert not teaching.has_sites
    assert teaching.sources == ()
    (caution,) = teaching.cautions
    assert "whether it has learned from them is not known" in caution
    students = named_students(request, teaching)
    assert [(one.name, one.source, one.kind) for one in students] == [
        ("unet", "UNet", "like"), ("basicunet", "BasicUNet", "like"), ("segresnet", "SegResNet", "like")
    ]  # fmt: skip
    rows, cells = plan_cells(request, teaching, students, tmp_path / "out")
    assert [(row.network, row.how) for row in rows[:3]] == [
        ("teacher", "teacher"),
        ("unet", "alone"),
        ("unet", "distilled"),
    ]
    # its configs may say where a training writes, so that each row has a bundle of its own
    assert len({cell.start_in for cell in cells if cell.kind in ("train", "distill")}) == 6
    alone = next(cell for cell in cells if cell.name == "train/unet/alone")
    assert [one for one in alone.command if one.startswith("--lambda_")] == [
        "--lambda_logits=0", "--lambda_gram=0", "--lambda_affinity=0"
    ]  # fmt: skip
    assert not any(one.startswith("--recipe") for one in alone.command)


def test_the_bundles_are_written_once_and_the_teachers_folder_stays_as_it_is(teacher, tmp_path):
    before = {path: path.read_bytes() for path in sorted(teacher.rglob("*")) if path.is_file()}
    request = request_for(teacher, tmp_path, students=("unet",), settings={"epochs": 3})
    teaching = read_teaching(request)
    for _ in range(2):
        _, cells = _planned(request, teaching, tmp_path / "out")
    assert {path: path.read_bytes() for path in sorted(teacher.rglob("*")) if path.is_file()} == before
    network = build_network(tmp_path / "out" / "bundles" / "student-unet-alone")
    # channels of the light UNet, as the how-to names them
    assert [tuple(network.model[0].conv.unit0.conv.weight.shape)] == [(8, 1, 3, 3, 3)]
    assert (tmp_path / "out" / "bundles" / "teacher" / "models" / "model.pt").is_file()
    assert '"epochs": 3' in (tmp_path / "out" / "bundles" / "student-unet-alone" / "configs" / "train.json").read_text()
    assert len(cells) == 2 + 2 * 3 + 1


def test_other_weights_than_those_of_an_earlier_run_are_refused(teacher, tmp_path):
    request = request_for(teacher, tmp_path)
    teaching = read_teaching(request)
    root = tmp_path / "out" / "bundles" / "teacher"
    put_teacher(request, teaching, root)
    (teacher / "models" / "model.pt").unlink()
    (teacher / "models" / "model.pt").write_bytes(b"others")
    with pytest.raises(InputError, match="weights are others than those that this folder was begun with"):
        put_teacher(request, teaching, root)


def test_a_student_of_slices_for_volumes_says_which_networks_fit(teacher, tmp_path):
    data = write_shapes(tmp_path / "data", 3, 1)
    with pytest.raises(InputError, match=r"ENet takes slices.*take a network for volumes \(UNet, BasicUNet"):
        compress_bundle(teacher, data, students=["enet"], output_dir=tmp_path / "out")


def test_widths_are_of_networks_that_have_them(teacher, tmp_path):
    with pytest.raises(InputError, match="UNet has no width_multiplier; take enet, espnet, erfnet"):
        compress_bundle(teacher, tmp_path, students=["UNet"], widths=[0.5], output_dir=tmp_path / "out")


@pytest.mark.parametrize("given", [{"sites": ("HK",)}, {"folds": 2}, {"fold": 0}, {"seed": 3}], ids=str)
def test_a_split_of_which_its_configs_know_nothing_is_refused(teacher, tmp_path, given):
    with pytest.raises(InputError, match=rf"{next(iter(given))} would have no effect: .*; leave that out"):
        read_teaching(request_for(teacher, tmp_path, **given))


def test_a_teacher_that_cannot_be_exported_is_refused_before_anything_is_written(tmp_path):
    gamma = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "AdjustContrastd", "keys": "image", "gamma": 2}]
    teacher = zoo_teacher(tmp_path / "zoo", preprocessing={"_target_": "Compose", "transforms": gamma})
    with pytest.raises(InputError, match="AdjustContrast"):
        compress_bundle(teacher, tmp_path, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_teacher_without_evaluation_is_refused(teacher, tmp_path):
    (teacher / "configs" / "evaluate.json").unlink()
    with pytest.raises(InputError, match=r"has no configs/evaluate\.json or \.yaml, which evaluation needs"):
        compress_bundle(teacher, tmp_path, output_dir=tmp_path / "out")


def test_a_student_in_slices_of_other_classes_keeps_the_teachers_configs_in_a_width(tmp_path):
    teacher = zoo_teacher(tmp_path / "flat", dims=2)
    request = request_for(teacher, tmp_path, students=("erfnet",), widths=(0.5,))
    teaching = read_teaching(request)
    (student,) = named_students(request, teaching)
    assert (student.name, student.source, student.kind) == ("erfnet-x0.5", "ERFNet", "like")
    root = bundle_of(tmp_path / "out", teaching, student, "alone")
    put_students(request, teaching, student, root)
    # worked out by hand in the tests of the networks
    assert sum(value.numel() for value in build_network(root).parameters()) == 518_984


def test_a_bundle_of_this_package_with_other_classes_has_students_like_it(tmp_path):
    teacher = small_bundle("unetplusplus", tmp_path / "big", **{"network_def#features": FEATURES})
    teaching = Teaching(has_sites=True)
    request = request_for(teacher, tmp_path)
    kinds = {one.kind for one in named_students(request, teaching)}
    metadata = teacher / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"prostate"', '"liver"'))
    assert (kinds, {one.kind for one in named_students(request, teaching)}) == ({"part"}, {"like"})
