# SPDX-License-Identifier: Apache-2.0
"""Many items in several processes: each has its result, and a crash costs one of them."""

from __future__ import annotations

import os
import signal

import pytest

from akd_monai.data.parallel import check_workers, for_each
from akd_monai.errors import InputError


def run(function, items, workers=2):
    return list(for_each(function, items, workers=workers, progress=False, title="items"))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_item_has_its_result(workers):
    found = run(abs, [-3, -1, 2, -2, 5], workers)
    assert sorted(found) == [(-3, 3), (-2, 2), (-1, 1), (2, 2), (5, 5)]


def test_few_items_stay_in_this_process():
    assert {result for _, result in run(eval, ["__import__('os').getpid()"] * 2)} == {os.getpid()}
    assert os.getpid() not in {result for _, result in run(eval, ["__import__('os').getpid()"] * 3)}
    assert run(abs, []) == []


def test_one_crash_costs_one_item():
    kill = f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGKILL)})"
    found = run(eval, ["1 + 1", kill, "2 + 2", "3 + 3"])
    assert sorted(found, key=str) == sorted([("1 + 1", 2), (kill, None), ("2 + 2", 4), ("3 + 3", 6)], key=str)


@pytest.mark.parametrize("workers", [1, 2])
def test_isolated_items_never_stay_in_this_process(workers):
    kill = f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGSEGV)})"
    items = [kill, "1 + 1"]
    found = dict(for_each(eval, items, workers=workers, progress=False, title="items", isolated=True))
    assert found == {kill: None, "1 + 1": 2}
    alone = dict(for_each(eval, [kill], workers=workers, progress=False, title="items", isolated=True))
    assert alone == {kill: None}
    assert list(for_each(eval, [], workers=workers, progress=False, title="items", isolated=True)) == []


def test_when_nothing_works_it_gives_up_and_names_every_item():
    kill = f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGKILL)})"
    assert run(eval, [kill] * 6) == [(kill, None)] * 6


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_function_raises_is_raised_here(workers):
    with pytest.raises(ZeroDivisionError):
        run(eval, ["1", "1 / 0", "2"], workers)


@pytest.mark.parametrize("workers", ["two", -1, 1.5, True, None])
def test_what_is_no_number_of_processes(workers):
    with pytest.raises(InputError, match=r"workers must be an integer of at least 0, got "):
        check_workers(workers)
    with pytest.raises(InputError, match="workers must be"):
        run(abs, [1], workers)
