# SPDX-License-Identifier: Apache-2.0
"""One shape of error: where, what, remedy; it survives a worker process."""

from __future__ import annotations

import copy
import math
import pickle
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from fractions import Fraction
from multiprocessing import get_context

import numpy as np
import pytest

from akd_monai.errors import (
    InputError,
    NonFiniteError,
    UnknownNameError,
    check_choice,
    check_mapping,
    check_number,
    near_matches,
    one_line,
    unknown_name,
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "has 0 bytes"),
        ({"where": "a.nii"}, "a.nii: has 0 bytes"),
        ({"remedy": "download it again"}, "has 0 bytes; download it again."),
        ({"where": "a.nii", "remedy": "download it again"}, "a.nii: has 0 bytes; download it again."),
        ({"where": "a.nii", "code": "empty"}, "a.nii: has 0 bytes"),
    ],
)
def test_the_message_reads_where_what_remedy(given, message):
    error = InputError("has 0 bytes", **given)
    assert str(error) == message
    assert error.what == "has 0 bytes"
    for name in ("where", "remedy", "code"):
        assert getattr(error, name) == given.get(name, "")


def test_kinds_of_errors():
    assert issubclass(InputError, ValueError)
    assert issubclass(UnknownNameError, InputError)
    assert issubclass(UnknownNameError, KeyError)
    assert issubclass(NonFiniteError, FloatingPointError)
    assert not issubclass(NonFiniteError, ValueError)
    assert str(unknown_name("loss", "a", [])) == "unknown loss 'a'. Known: none."


class OwnError(InputError):
    """An error of another room, with an argument of its own."""

    def __init__(self, case: str) -> None:
        super().__init__("is damaged", where=case, remedy="replace it", code="damaged")
        self.case = case


def raised_in_worker(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        InputError("a", where="b", remedy="c", code="d"),
        unknown_name("loss", "afinity", ["affinity"]),
        OwnError("Case00"),
        NonFiniteError("loss is NaN"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_keeps_everything_on_its_way_from_a_worker(error):
    copies = [pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)]
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        caught = pool.submit(raised_in_worker, error).exception()
    assert caught is not None
    vars(caught).pop("__notes__", None)
    for other in (*copies, caught):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("afinity", ["affinity", "gram"], " Did you mean 'affinity'?"),
        ("AFINITY", ["affinity", "gram"], " Did you mean 'affinity'?"),
        ("runmc", ["RUNMC", "HK"], " Did you mean 'RUNMC'?"),
        ("xyz", ["affinity", "gram"], ""),
        ("", ["affinity"], ""),
        ("affinity", [], ""),
        ("case", ["case1", "case2", "case3", "case4"], " Did you mean 'case4', 'case3', 'case2'?"),
    ],
)
def test_near_matches(name, known, hint):
    assert near_matches(name, known) == hint
    assert near_matches(name, iter(known)) == hint


def test_unknown_names_are_reported_in_one_form():
    error = unknown_name("layer", "hed", ["head", "body"], where="in bundle 'x'", remedy="List them with profile")
    assert str(error) == (
        "unknown layer 'hed' in bundle 'x'. Did you mean 'head'? Known: head, body. List them with profile."
    )
    assert str(unknown_name("fold", 7, iter(["1", "2"]))) == "unknown fold 7. Known: 1, 2."
    with pytest.raises(KeyError) as caught:
        raise error
    assert str(caught.value) == str(error)  # KeyError alone would show it in quotes


def test_a_mapping_is_copied_and_has_known_names_only():
    given = {"size": 3}
    result = check_mapping("options", given, ["size", "rate"])
    assert result == given
    assert result is not given
    with pytest.raises(InputError, match=r"^options must be a mapping, got list\.$"):
        check_mapping("options", [], ["size"])
    with pytest.raises(UnknownNameError, match=r"^unknown entry 'sise' of options\. Did you mean 'size'\? Known: size"):
        check_mapping("options", {"sise": 3}, iter(["size"]))


@pytest.mark.parametrize(
    ("value", "known", "fine"),
    [
        ("batch", ("batch", "channel"), True),
        ("bach", ("batch", "channel"), False),
        (None, (None, "sum"), True),
        (None, ("sum",), False),
        (3, (3, 5), True),
        (3.0, (3, 5), True),
        (True, (1, 2), False),
        (1, (True, False), False),
        (True, (True, False), True),
        ([], ("a",), False),
    ],
)
def test_choices(value, known, fine):
    if fine:
        check_choice("mode", value, known)
        return
    listed = ", ".join(repr(name) for name in known)
    with pytest.raises(InputError) as caught:
        check_choice("mode", value, known)
    assert str(caught.value).startswith(f"mode must be one of {listed}, got {value!r}.")


@pytest.mark.parametrize("value", [1, 0.5, np.float32(2), np.int64(3), Fraction(1, 2), 1e-300])
def test_numbers(value):
    check_number("rate", value)
    check_number("rate", value, above=0)
    check_number("rate", value, at_least=0)


@pytest.mark.parametrize(
    ("value", "bounds", "bound"),
    [
        (math.nan, {}, ""),
        (math.inf, {"above": 0}, " above 0"),
        (0, {"above": 0}, " above 0"),
        (-1e-9, {"at_least": 0}, " of at least 0"),
        (0.4, {"at_least": 0.5}, " of at least 0.5"),
        (True, {}, ""),
        ("1", {}, ""),
        (None, {"above": 0}, " above 0"),
        (1j, {}, ""),
        (Decimal(1), {}, ""),
    ],
)
def test_what_is_no_number_in_the_range(value, bounds, bound):
    with pytest.raises(InputError) as caught:
        check_number("rate", value, **bounds)
    assert str(caught.value) == f"rate must be a finite number{bound}, got {value!r}."


def test_a_number_that_is_too_large_for_a_float_is_no_finite_number():
    with pytest.raises(InputError, match="rate must be a finite number"):
        check_number("rate", 10**400)


def test_one_line():
    assert one_line(ValueError("first\n  second\t third ")) == "first second third"
    assert one_line("a" * 400) == "a" * 300
    assert one_line("abc def", limit=5) == "abc d"
    assert one_line(ValueError()) == ""


def test_a_long_list_of_known_names_is_cut():
    error = unknown_name("patient", "x", [f"p{n:03}" for n in range(116)])
    assert str(error).endswith("p039 and 76 more.")
    assert "p040" not in str(error)
