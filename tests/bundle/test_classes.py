# SPDX-License-Identifier: Apache-2.0
"""Classes of a teacher and of a student matched by name, by number or by a table."""

from __future__ import annotations

import json

import pytest

from akd_monai.bundle._classes import teacher_classes
from akd_monai.errors import InputError, UnknownNameError

ZONES = ["background", "transition zone", "peripheral zone"]


@pytest.fixture
def pair(tmp_path):
    """Return a function that writes two bundles with given classes: names, or a number of channels."""

    def write(root, classes):
        names = None if isinstance(classes, int) else dict(enumerate(classes))
        pred = {"num_channels": classes if names is None else len(names)}
        if names is not None:
            pred["channel_def"] = names
        (root / "configs").mkdir(parents=True)
        image = {"num_channels": 1, "spatial_shape": [32, 32]}
        metadata = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}
        (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
        return root

    def make(teacher, student):
        return write(tmp_path / "teacher", teacher), write(tmp_path / "student", student)

    return make


def test_equal_names_need_nothing(pair):
    assert teacher_classes(*pair(ZONES, ["Background ", "Transition_Zone", "peripheral-zone"])) is None


def test_another_order_is_a_permutation(pair, caplog):
    caplog.set_level("INFO")
    teacher, student = pair(["liver", "background", "spleen"], ["Background", "Spleen", "Liver"])
    assert teacher_classes(teacher, student) == [[1], [2], [0]]
    assert "matched by name" in caplog.text


@pytest.mark.parametrize(
    ("student", "table", "expected"),
    [
        (["background", "gland"], "gland=transition zone+peripheral zone", [[0], [1, 2]]),
        (["background", "gland"], "Gland = Transition_Zone + 2", [[0], [1, 2]]),
        (["background", "gland"], {"gland": ["transition zone", 2]}, [[0], [1, 2]]),
        (["background", "peripheral zone"], "background=background+transition zone", [[0, 1], [2]]),
        (["peripheral zone", "rest"], "rest=0+1", [[2], [0, 1]]),
        (2, "0=0,1=1+2", [[0], [1, 2]]),
        (["a", "b", "c"], "a=2,b=1,c=0", [[2], [1], [0]]),
    ],
)
def test_table(student, table, expected, pair):
    assert teacher_classes(*pair(ZONES, student), table, activation="softmax") == expected


def test_sigmoid_channels_may_be_left_out(pair):
    teacher, student = pair(["core", "tumor", "edema"], ["tumor"])
    assert teacher_classes(teacher, student, "tumor=tumor", activation="sigmoid") == [[1]]


def test_sigmoid_channels_are_not_merged(pair):
    teacher, student = pair(["core", "tumor"], ["all"])
    with pytest.raises(InputError, match="union of sigmoid channels"):
        teacher_classes(teacher, student, "all=core+tumor", activation="sigmoid")


REFUSED = {
    "subset": (ZONES, ["background", "peripheral zone"], None,
               'where the others belong, such as "background=background.transition zone"'),
    "subset without background": (ZONES, ["peripheral zone"], None, 'left out: "peripheral zone=peripheral zone"'),
    "merged": (ZONES, ["background", "gland"], None, "which of the teacher's make up 'gland'"),
    "other task": (["background", "pancreas", "tumor"], ZONES, None, "--allow classes if they are the same"),
    "no place": (ZONES, ["background", "gland"], "gland=peripheral zone", "no place to the teacher's 'transition zone'"),
    "not in the table": (ZONES, ["background", "gland", "bladder"], "gland=1+2", "'bladder' is not in the table"),
    "two places": (ZONES, ["background", "gland"], "gland=background+1+2", "'background' is a part of the student's"),
    "twice in one": (ZONES, ["background", "gland"], "gland=1+1+2", "is a part of the student's 'gland' and 'gland'"),
    "twice": (ZONES, ["background", "gland"], "gland=1,Gland=2", "names 'Gland' twice"),
    "name and number": (ZONES, ["background", "gland"], "gland=1,1=2", "names 'gland' twice"),
    "no sign": (ZONES, ["background", "gland"], "gland", "has no '='"),
    "empty": (ZONES, ["background", "gland"], "gland=1+", "an empty side"),
    "no string": (ZONES, ["background", "gland"], 3, "must be a string or a mapping, got int"),
    "counts": (5, ZONES, None, "teacher has 5 classes, the student 3, and the metadata of the teacher does not name"),
    "unnamed": (ZONES, 2, "1=1+2", "'channel 0' is not in the table"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, pair):
    teacher, student, table, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        teacher_classes(*pair(teacher, student), table, activation="softmax")


@pytest.mark.parametrize(("table", "message"), [("gland=perifheral zone+1", "Did you mean 'peripheral zone'"),
                                                ("glnad=1+2", "class 'glnad' of the student. Did you mean 'gland'"),
                                                ("gland=1+3", "unknown class '3' of the teacher")])  # fmt: skip
def test_unknown_classes_are_named(table, message, pair):
    with pytest.raises(UnknownNameError, match=message):
        teacher_classes(*pair(ZONES, ["background", "gland"]), table, activation="softmax")


def test_other_names_are_allowed_by_a_flag_if_they_are_as_many(pair, caplog):
    teacher, student = pair(["background", "pancreas", "tumor"], ZONES)
    assert teacher_classes(teacher, student, allow=["classes"]) is None
    assert "taken for one another in their order" in caplog.text


def test_more_classes_are_not_allowed_by_the_flag(pair):
    with pytest.raises(InputError, match="which of the teacher's"):
        teacher_classes(*pair(["background", "pancreas"], ZONES), allow=["classes"])


@pytest.mark.parametrize("unnamed", [3, ["background", "gland", "Gland"], ["background", "", "gland"]])
def test_as_many_without_names_are_taken_with_a_warning(unnamed, pair, caplog):
    assert teacher_classes(*pair(unnamed, ZONES)) is None
    assert "names no class for each of the 3 channels" in caplog.text


def test_names_for_another_number_of_channels_are_no_names(pair, caplog):
    teacher, student = pair(ZONES, ZONES)
    path = teacher / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"num_channels": 3', '"num_channels": 2'))
    with pytest.raises(InputError, match="teacher has 2 classes, the student 3"):
        teacher_classes(teacher, student)


@pytest.mark.parametrize("count", [None, 0, "*", True])
def test_channels_must_be_a_number(count, pair):
    teacher, student = pair(ZONES, ZONES)
    path = teacher / "configs" / "metadata.json"
    content = json.loads(path.read_text())
    content["network_data_format"]["outputs"]["pred"]["num_channels"] = count
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="as num_channels of the output"):
        teacher_classes(teacher, student)
