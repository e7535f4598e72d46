# SPDX-License-Identifier: Apache-2.0
"""What is read from a bundle's metadata, and which pairs of bundles are refused."""

from __future__ import annotations

import hashlib
import json

import pytest

from akd_monai.bundle import compare_bundles, distillation_layer, input_shape, weights_sha256
from akd_monai.errors import InputError, UnknownNameError


def meta(channels=1, classes=2, shape=(32, 32), value_range=(0, 1), names=("background", "gland")):
    image = {"num_channels": channels, "spatial_shape": list(shape), "value_range": list(value_range)}
    pred = {"num_channels": classes, "spatial_shape": list(shape), "channel_def": dict(enumerate(names))}
    return {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}


@pytest.mark.parametrize(
    ("side", "wanted"), [(96, 96), ("*", 64), ("32*n", 64), ("2**p", 64), ("16*n+48", 64), ("2**p*n", 64)]
)
def test_input_shape_reads_the_zoos_sizes(side, wanted):
    assert input_shape(meta(channels=3, shape=(side, 80))) == [3, wanted, 80]


def test_shape_that_is_a_program_is_refused():
    with pytest.raises(InputError, match=r"__import__.*wanted an integer"):
        input_shape(meta(shape=("__import__('os').getcwd()", 32)))


@pytest.mark.fault(
    "Wrong input",
    "a teacher that does not fit the student",
    injected="other channels, classes or dimensions",
    outcome="one line before training",
)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 3}, r"input channels 3 and 1 \(teacher and student\)"),
        ({"classes": 1}, r"teacher's channels are sigmoid channels, which may overlap, the student's softmax classes"),
        ({"classes": 3, "names": ("background", "gland", "bladder")}, r"background=background\+bladder"),
        ({"shape": (32, 32, 32)}, r"spatial dimensions 3 and 2"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(make_bundle, changes, message):
    teacher, student = make_bundle("teacher", meta=meta(**changes)), make_bundle("student", meta=meta())
    with pytest.raises(InputError, match=message):
        compare_bundles(teacher, student)


@pytest.mark.fault(
    "Wrong input",
    "a teacher for other values",
    injected="value range 0 to 255",
    outcome="said before training",
)
def test_other_value_range_is_a_warning(make_bundle):
    warnings = compare_bundles(
        make_bundle("teacher", meta=meta(value_range=(0, 255))), make_bundle("student", meta=meta())
    )
    assert [w.split(":")[0] for w in warnings] == [
        "the teacher was trained on values in [0, 255], the student's preprocessing gives [0, 1]"
    ]


def of_modality(make_bundle, name, modality):
    described = meta()
    if modality is not None:
        described["network_data_format"]["inputs"]["image"]["modality"] = modality
    return make_bundle(name, meta=described)


@pytest.mark.fault(
    "Wrong input",
    "a teacher for another modality",
    injected="a CT teacher for an MR student, by their metadata",
    outcome="refused before training, unless allowed by name",
)
@pytest.mark.parametrize(("theirs", "ours"), [("CT", "MR"), ("ct", "MRI T2"), ("US", "CT")])
def test_a_teacher_of_another_modality_is_refused_unless_allowed(make_bundle, caplog, theirs, ours):
    pair = of_modality(make_bundle, "teacher", theirs), of_modality(make_bundle, "student", ours)
    with pytest.raises(InputError, match=rf"modality {theirs} and {ours} .*accept it with --allow modality"):
        compare_bundles(*pair)
    assert compare_bundles(*pair, allow="modality") == []
    assert "| modality" in caplog.text


@pytest.mark.parametrize(
    ("theirs", "ours"), [("MR", "mri"), ("MRI T2", "MR"), ("CT", None), ("CT", "n/a"), ("", "CT"), (5, "CT")]
)
def test_the_same_modality_or_none_is_no_difference(make_bundle, theirs, ours):
    pair = of_modality(make_bundle, "teacher", theirs), of_modality(make_bundle, "student", ours)
    assert compare_bundles(*pair) == []


def test_fitting_pair_gives_no_warning(make_bundle):
    assert compare_bundles(make_bundle("teacher", meta=meta()), make_bundle("student", meta=meta())) == []


def test_layer_is_read_and_a_missing_one_is_explained(make_bundle):
    root = make_bundle(meta={**meta(), "distillation_layers": {"high": "down_3"}})
    assert distillation_layer(root, "high") == "down_3"
    with pytest.raises(
        UnknownNameError, match=r"unknown layer 'hihg' under 'distillation_layers' .* Did you mean 'high'\? Known: high"
    ):
        distillation_layer(root, "hihg")


def test_hash_of_weights(make_bundle):
    root = make_bundle()
    content = (root / "models" / "model.pt").read_bytes()
    assert weights_sha256(root) == hashlib.sha256(content).hexdigest()


def test_broken_metadata_names_the_line(make_bundle):
    root = make_bundle()
    (root / "configs" / "metadata.json").write_text(json.dumps({"a": 1}) + "}")
    with pytest.raises(InputError, match=r"metadata.json: is no valid JSON \(Extra data: line 1 column 9"):
        distillation_layer(root, "high")


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (None, "has no network_data_format#inputs"),
        ([1], r"network_data_format#inputs of metadata.json must describe a tensor in an object, got list"),
        ({"inputs": {"image": 3}}, "must describe a tensor in an object, got int"),
        ({"inputs": {"image": {}}}, "num_channels of metadata.json must be an integer of 1 or more, got None"),
        (
            {"inputs": {"image": {"num_channels": 1, "spatial_shape": "64"}}},
            "spatial_shape .* must be a list, got '64'",
        ),
        ({"inputs": {"image": {"num_channels": 1, "spatial_shape": [None]}}}, "holds None; wanted an integer"),
        ({"inputs": {"image": {"num_channels": 1, "spatial_shape": [True]}}}, "holds True; wanted an integer"),
    ],
)
def test_odd_types_in_the_metadata_are_one_line(formats, message):
    with pytest.raises(InputError, match=message):
        input_shape({"network_data_format": formats})
