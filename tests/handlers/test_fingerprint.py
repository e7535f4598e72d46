# SPDX-License-Identifier: Apache-2.0
"""A refused resume says in words what changed since the run was started."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_run import build

from akd_monai.errors import InputError
from akd_monai.handlers._fingerprint import differences

TEACHER = {"dtype": None, "channels_last": False}


@pytest.mark.parametrize(
    ("saved", "current", "expected"),
    [
        ({"seed": 1, "data": "a"}, {"data": "a", "seed": 1}, []),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a (was 1, is 2)", "b (was 1, is 2)"]),
        (
            {"teacher_options": TEACHER},
            {"teacher_options": {**TEACHER, "dtype": "bfloat16"}},
            ["teacher_options.dtype (was None, is 'bfloat16')"],
        ),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1, "d": 3}}}, ["a.b.d (was 2, is 3)"]),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, ["a.b (was 1, is absent)", "a.c (was absent, is 1)"]),
        ({"a": {}}, {}, ["a (was {}, is absent)"]),
        ({"a": "absent"}, {}, ["a (was 'absent', is absent)"]),
        # as runs saved it when the entries were lists
        ({"lambdas": [0.2, 0.9]}, {"lambdas": {"gram": 0.9}}, ["lambdas (was [0.2, 0.9], is {'gram': 0.9})"]),
        ({"lambdas": [0.2, 0.9]}, {"lambdas": [0.2]}, ["lambdas (was [0.2, 0.9], is [0.2])"]),
        ({"lambdas": {"gram": 0.9}}, {"lambdas": None}, ["lambdas (was {'gram': 0.9}, is None)"]),
        ({"a": "x" * 80}, {"a": 1}, [f"a (was '{'x' * 56}..., is 1)"]),
    ],
)
def test_differences_are_named_entry_by_entry(saved, current, expected):
    assert differences(saved, current) == expected


def test_a_refused_resume_names_the_entry_of_a_mapping(tmp_path):
    build(tmp_path, epochs=1, fingerprint={"seed": 5, "teacher_options": TEACHER}).run()
    changed = build(tmp_path, epochs=1, fingerprint={"seed": 5, "teacher_options": {**TEACHER, "dtype": "bfloat16"}})
    message = (
        r"differs in teacher_options\.dtype \(was None, is 'bfloat16'\): choose another output folder, or set resume"
    )
    with pytest.raises(InputError, match=message):
        changed.run()


def test_a_run_that_saved_a_list_is_refused_in_words(tmp_path):
    build(tmp_path, epochs=1, fingerprint={"lambdas": [0.2, 0.9, 0.9]}).run()
    changed = build(tmp_path, epochs=1, fingerprint={"lambdas": {"logits": 0.2}})
    with pytest.raises(InputError, match=r"differs in lambdas \(was \[0\.2, 0\.9, 0\.9\], is \{'logits': 0\.2\}\)"):
        changed.run()


def test_values_of_numpy_and_torch_are_numbers_and_lists(tmp_path):
    build(tmp_path, epochs=1, fingerprint={"a": np.float64(0.5), "b": torch.tensor([1, 2])}).run()
    build(tmp_path, epochs=2, fingerprint={"a": 0.5, "b": [1, 2]}).run()
    changed = build(tmp_path, epochs=3, fingerprint={"a": 0.5, "b": np.array([1, 3])})
    with pytest.raises(InputError, match=r"differs in b \(was \[1, 2\], is \[1, 3\]\)"):
        changed.run()


def test_a_value_without_json_form_is_refused(tmp_path):
    with pytest.raises(InputError, match="fingerprint must hold numbers, strings, lists and dictionaries only"):
        build(tmp_path, epochs=1, fingerprint={"function": print}).run()
