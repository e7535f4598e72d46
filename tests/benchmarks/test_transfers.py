# SPDX-License-Identifier: Apache-2.0
"""The bundles, shapes and page of the transfers between foreign bundles."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from akd_monai.bundle import find_problems, output_activation
from benchmarks.transfers.bundles import TASKS, write_teacher
from benchmarks.transfers.page import ALONE, Result, results_page
from benchmarks.transfers.shapes import SHAPE, write_site


@pytest.mark.parametrize(("task", "activation"), [("organs", "softmax"), ("tumour", "sigmoid")])
def test_bundles_are_sound_and_their_outputs_are_understood(tmp_path, task, activation):
    bundle = write_teacher(tmp_path / "teacher", task, epochs=1)
    assert [problem for problem in find_problems(bundle) if problem.severity == "error"] == []
    assert output_activation(bundle) == activation


@pytest.mark.parametrize(("task", "values"), [("organs", {0, 1, 2}), ("tumour", {0, 1, 2, 4})])
def test_volumes_have_every_class_and_two_calls_write_the_same(tmp_path, task, values):
    for folder in ("first", "second"):
        write_site(tmp_path / folder, task, 1, site=1, seed=3)
    first, second = (
        nib.load(tmp_path / folder / "imagesTr/case00.nii.gz").get_fdata() for folder in ("first", "second")
    )
    assert np.array_equal(first, second)
    labels = nib.load(tmp_path / "first/labelsTr/case00.nii.gz").get_fdata()
    assert labels.shape == SHAPE
    assert set(np.unique(labels)) == values


def test_page_counts_runs_above_the_student_alone_of_their_seed():
    def result(row, seed, dice):
        return Result("tumour", row, seed, torch.full((2, len(TASKS["tumour"]["classes"])), dice), 10)

    rows = [result("teacher", None, 0.9), result(ALONE, 0, 0.5), result("distilled", 0, 0.6)]
    rows += [result(ALONE, 1, 0.7), result("distilled", 1, 0.6)]
    page = results_page(rows, "command", 1.0)
    assert "| distilled | 10 | 0 | 0.600 | 0.600 | 0.600 | 0.600 ± 0.000 | +0.100, 2 of 2 cases above |" in page
    assert "In 1 of 2 runs the distilled student is above the one trained alone with its seed." in page
