# SPDX-License-Identifier: Apache-2.0
"""Pairs of bundles compared by what they do with images, by their activations and by their classes."""

from __future__ import annotations

import json

import pytest

from akd_monai.bundle import DistillationWorkflow, assemble_bundles, change_bundle, compare_bundles
from akd_monai.bundle._preprocessing import compare_preprocessing
from akd_monai.errors import InputError, UnknownNameError

BOTH = ["image", "label"]
LOAD = {"_target_": "LoadImaged", "keys": BOTH}
ORIENT = {"_target_": "Orientationd", "keys": BOTH, "axcodes": "RAS"}
SPACING = {"_target_": "Spacingd", "keys": BOTH, "pixdim": [1.5, 1.5, 2.0], "mode": ["bilinear", "nearest"]}
WINDOW = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0.0, "b_max": 1.0,
          "clip": True}  # fmt: skip
CROP = {"_target_": "RandCropByPosNegLabeld", "keys": BOTH, "label_key": "label", "spatial_size": [64, 64, 64]}
USUAL = [LOAD, ORIENT, SPACING, WINDOW]


def write(root, *, names=("background", "spleen"), sigmoid=False, train=None, inference=None, at_top=False):
    """Write a bundle in the style of the Model Zoo: sums of lists and references in its train config."""
    kind = {"sigmoid": True} if sigmoid else {"softmax": True}
    steps = USUAL if train is None else train
    top = {
        "deterministic": steps,
        "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, **kind},
        "preprocessing": {"_target_": "Compose", "transforms": "$@deterministic + [@random]"},
        "random": CROP,
        "dataset": {"_target_": "Dataset", "data": "$open('x')", "transform": "@preprocessing"},
        "loader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 2},
    }
    trainer = {"_target_": "SupervisedTrainer", "train_data_loader": "@loader", "optimizer": "$None"}
    config = {**top, **({"trainer": trainer} if at_top else {"train": {"trainer": trainer}})}
    image = {"num_channels": 1, "spatial_shape": [64, 64, 64], "value_range": [0, 1]}
    pred = {"num_channels": len(names), "channel_def": dict(enumerate(names))}
    (root / "configs").mkdir(parents=True)
    files = {
        "metadata": {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}},
        "train": config,
        "inference": {"pre": steps if inference is None else inference, "preprocessing": {"transforms": "@pre"}},
    }
    for name, content in files.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def pair(tmp_path):
    """Return a function that writes a teacher of the usual preprocessing and a student."""

    def make(teacher=None, **student):
        return write(tmp_path / "teacher", **(teacher or {})), write(tmp_path / "student", **student)

    return make


@pytest.mark.parametrize("at_top", [False, True])
def test_equal_bundles_give_no_finding(at_top, pair):
    teacher, student = pair(at_top=at_top)
    assert compare_preprocessing(teacher, student) == []
    assert compare_bundles(teacher, student) == []


def test_own_pairs_give_no_finding(tmp_path):
    parts = ["unetplusplus", "enet", "erfnet"]
    teacher, *students = assemble_bundles(parts, bundles_dir=tmp_path)
    assert [compare_preprocessing(teacher, student) for student in students] == [[], []]


WRITTEN_OTHERWISE = {
    "one pixdim for all": [LOAD, ORIENT, {**SPACING, "pixdim": [1.5, 1.5, 2]}, WINDOW],
    "default given": [LOAD, ORIENT, SPACING, {**WINDOW, "dtype": "$np.float32", "a_min": -57.0}],
    "nested": [LOAD, {"_target_": "Compose", "transforms": [ORIENT, SPACING]}, WINDOW],
    "full name": [LOAD, ORIENT, SPACING, {**WINDOW, "_target_": "monai.transforms.ScaleIntensityRangeD"}],
    "twice": [*USUAL, WINDOW],
    "of the label": [*USUAL, {"_target_": "ScaleIntensityd", "keys": "label"}],
    "disabled": [*USUAL, {"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": True}],
    "random": [*USUAL, {"_target_": "RandScaleIntensityd", "keys": "image", "factors": 0.5}],
    "small difference": [LOAD, ORIENT, {**SPACING, "pixdim": [1.51, 1.5, 2]}, WINDOW],
    "of one key among three": [
        LOAD, ORIENT, SPACING,
        {**WINDOW, "keys": ["label", "image", "pred"], "a_min": [0, -57, 0], "clip": [False, True, False]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN_OTHERWISE)
def test_the_same_written_otherwise_is_no_difference(case, pair):
    assert compare_preprocessing(*pair(train=WRITTEN_OTHERWISE[case])) == []


def changed(**changes):
    return [LOAD, changes.get("orient", ORIENT), changes.get("spacing", SPACING), changes.get("window", WINDOW)]


DIFFERENT = {
    "window": (changed(window={**WINDOW, "a_min": -1000, "a_max": 1000}), "intensity", "danger"),
    "no clip": (changed(window={**WINDOW, "clip": False}), "intensity", "danger"),
    "other class": (changed(window={"_target_": "NormalizeIntensityd", "keys": "image"}), "intensity", "danger"),
    "none": ([LOAD, ORIENT, SPACING], "intensity", "danger"),
    "more": ([*USUAL, {"_target_": "NormalizeIntensityd", "keys": "image"}], "intensity", "danger"),
    "code": (changed(window={**WINDOW, "a_min": "$f()"}), "intensity", "warning"),
    "smooth": ([*USUAL, {"_target_": "GaussianSmoothd", "keys": "image"}], "intensity", "warning"),
    "own transform": ([*changed(window={**WINDOW, "a_max": 9}), {"_target_": "scripts.Own", "keys": "image"}],
                      "intensity", "warning"),
    "double spacing": (changed(spacing={**SPACING, "pixdim": 3}), "spacing", "danger"),
    "little spacing": (changed(spacing={**SPACING, "pixdim": [1.5, 1.5, 2.4]}), "spacing", "warning"),
    "no spacing": ([LOAD, ORIENT, WINDOW], "spacing", "warning"),
    "other axes": (changed(orient={**ORIENT, "axcodes": "PIL"}), "orientation", "danger"),
    "no axes": ([LOAD, SPACING, WINDOW], "orientation", "warning"),
    "flip": ([*USUAL, {"_target_": "Flipd", "keys": BOTH, "spatial_axis": 0}], "orientation", "danger"),
    "resize": ([*USUAL, {"_target_": "Resized", "keys": BOTH, "spatial_size": [64, 64, 64]}], "size", "warning"),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENT)
def test_differences(case, pair):
    steps, check, severity = DIFFERENT[case]
    found = compare_preprocessing(*pair(train=steps))
    assert [(f.check, f.severity) for f in found] == [(check, severity)]


@pytest.mark.parametrize("case", [name for name in DIFFERENT if DIFFERENT[name][2] == "danger"])
def test_danger_is_refused_unless_allowed(case, pair, caplog):
    steps, check, _ = DIFFERENT[case]
    bundles = pair(train=steps)
    with pytest.raises(InputError, match=f"do not fit each other: {check} .*accept it with --allow {check}"):
        compare_bundles(*bundles)
    assert compare_bundles(*bundles, allow=check) == []
    assert f"| {check}" in caplog.text


def test_values_of_both_are_named(pair):
    window = {**WINDOW, "a_min": -1000, "a_max": 1000}
    with pytest.raises(InputError, match=r"intensity ScaleIntensityRange\(a_max=164, a_min=-57\) and "
                                         r"ScaleIntensityRange\(a_max=1000, a_min=-1000\)"):  # fmt: skip
        compare_bundles(*pair(train=changed(window=window)))


@pytest.mark.parametrize(
    ("override", "check"),
    [
        ({"deterministic#3#a_min": -1000}, "intensity"),
        ({"deterministic::2::pixdim": [3.0, 3.0, 3.0]}, "spacing"),
        ({"deterministic": [LOAD, SPACING, WINDOW]}, "orientation"),
        ({"epochs": 5, "nothing#here": 1}, None),
    ],
)
def test_what_a_run_sets_is_compared(override, check, pair):
    teacher, student = pair()
    found = compare_preprocessing(teacher, student, override)
    assert [finding.check for finding in found] == ([check] if check else [])


def test_a_run_that_sets_another_window_is_refused(pair):
    with pytest.raises(InputError, match=r"intensity ScaleIntensityRange\(a_min=-57\) and .*\(a_min=-1000\)"):
        DistillationWorkflow(*pair(), **{"deterministic#3#a_min": -1000})


@pytest.mark.parametrize(
    ("low", "severity"), [(-57, "warning"), (-1000, "danger"), (["$min(1, 2)"], "warning"), ("$min(1, 2)", "warning")]
)
def test_a_bound_that_is_known_to_differ_is_refused_whatever_the_other_is(low, severity, pair):
    window = {**WINDOW, "a_min": low, "a_max": "$min(1000, 2)"}
    found = compare_preprocessing(*pair(train=changed(window=window)))
    assert [(finding.check, finding.severity) for finding in found] == [("intensity", severity)]


def test_scale_of_spacing_is_named(pair):
    found = compare_preprocessing(*pair(train=changed(spacing={**SPACING, "pixdim": 3})))
    # 3 / 1.5 along the first two axes
    assert found[0].meaning == "the teacher sees anatomy scaled by up to 2"


def test_what_the_teachers_own_training_does_is_no_difference(pair):
    window = [LOAD, ORIENT, SPACING, {**WINDOW, "a_min": -1000}]
    assert compare_preprocessing(*pair({"train": window, "inference": USUAL}, train=window)) == []


def test_unreadable_preprocessing_is_a_note(pair):
    teacher, student = pair()
    change_bundle(student, {"preprocessing": "$make()", "dataset#transform": "$make()"})
    assert [(f.check, f.severity) for f in compare_preprocessing(teacher, student)] == [("intensity", "note")]


def test_nothing_is_run(pair, tmp_path):
    teacher, student = pair()
    canary = tmp_path / "ran"
    load = {**LOAD, "reader": f"$open({str(canary)!r}, 'w')"}
    change_bundle(student, {"deterministic": [load, *USUAL[1:]]})
    compare_bundles(teacher, student)
    assert not canary.exists()


def test_different_activations_are_refused(pair):
    teacher, student = pair(sigmoid=True)
    with pytest.raises(
        InputError, match=r"softmax classes, the student's sigmoid channels, which may overlap; .*--activation"
    ):
        compare_bundles(teacher, student)
    said = compare_bundles(teacher, student, activation="softmax")
    assert said == ["activation is set to softmax, but the configs of the student speak for sigmoid"]


@pytest.mark.parametrize("other", ["teacher", "configs/..", "link"])
def test_one_folder_is_no_pair(other, pair, tmp_path):
    teacher, _ = pair()
    (tmp_path / "link").symlink_to(teacher)
    student = teacher / other if ".." in other else tmp_path / other
    with pytest.raises(InputError, match=r"are one folder, where .* give the student a copy of the bundle"):
        compare_bundles(teacher, student)


def test_a_run_that_sets_a_loss_of_the_other_kind_is_refused(pair):
    teacher, student = pair()
    loss = {"_target_": "DiceLoss", "sigmoid": True}
    with pytest.raises(InputError, match="teacher's channels are softmax classes, the student's sigmoid channels"):
        compare_bundles(teacher, student, override={"loss": loss})
    assert compare_bundles(teacher, student, override={"loss": {**loss, "sigmoid": False, "softmax": True}}) == []


def test_an_activation_against_the_configs_of_both_is_said(pair):
    said = compare_bundles(*pair(), activation="sigmoid")
    assert [line for line in said if "activation" in line] == [
        "activation is set to sigmoid, but the configs of the teacher speak for softmax",
        "activation is set to sigmoid, but the configs of the student speak for softmax",
    ]


def test_unknown_activation_is_refused(pair):
    with pytest.raises(InputError, match="activation must be one of 'softmax', 'sigmoid', got 'sotfmax'"):
        compare_bundles(*pair(), activation="sotfmax")


def test_classes_need_a_table_or_are_refused(pair):
    bundles = pair({"names": ["background", "spleen", "liver"]})
    with pytest.raises(InputError, match=r'such as "background=background\+liver"'):
        compare_bundles(*bundles)
    assert compare_bundles(*bundles, classes="background=background+liver") == []


def test_other_names_of_equal_number_need_the_flag(pair):
    bundles = pair(names=["background", "liver"])
    with pytest.raises(InputError, match="--allow classes"):
        compare_bundles(*bundles)
    assert compare_bundles(*bundles, allow=["classes"]) == []


def test_unknown_checks_are_named(pair):
    with pytest.raises(UnknownNameError, match=r"unknown check 'intensities' in allow. Did you mean 'intensity'"):
        compare_bundles(*pair(), allow="intensities")


def test_a_default_may_be_written_or_left_out(pair):
    plain = {"_target_": "NormalizeIntensityd", "keys": "image"}
    written = {**plain, "nonzero": False, "channel_wise": False, "subtrahend": None}
    assert compare_preprocessing(*pair({"train": changed(window=plain)}, train=changed(window=written))) == []
