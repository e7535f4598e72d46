# SPDX-License-Identifier: Apache-2.0
"""Which algorithm computes the affinity loss, and the trial of the fused kernel before it is taken."""

from __future__ import annotations

import pytest
import torch

from akd_monai.losses import affinity_fast, affinity_trial, affinity_triton
from akd_monai.losses._affinity.dense import dense_affinity
from akd_monai.losses._affinity.dispatch import choose_algorithm
from akd_monai.losses._affinity.pairs import AffinityOptions, LabelPairs
from akd_monai.losses._affinity.self_test import kernel_serves


def test_auto_takes_box_on_smooth_labels_and_dense_on_ragged_ones():
    rng = torch.Generator().manual_seed(0)
    scores, ragged = torch.randn(1, 9, 32, 32, generator=rng), torch.randint(0, 3, (1, 32, 32), generator=rng)
    smooth = torch.zeros(1, 32, 32, dtype=torch.int64)
    smooth[:, 8:16, 8:16] = 1
    options = AffinityOptions()
    assert choose_algorithm(scores, smooth, options)[0] == "box"
    assert choose_algorithm(scores[:, :8], smooth, options)[0] == "dense"  # 8192 numbers: small
    assert choose_algorithm(scores, ragged, options)[0] == "dense"
    assert choose_algorithm(scores.to("meta"), ragged, options)[0] == "reference"


@pytest.mark.parametrize(
    ("trial", "kind", "channels", "expected"),
    [
        (True, torch.float32, 256, "triton"),
        (False, torch.float32, 256, "dense"),
        (True, torch.float64, 2, "dense"),
        (True, torch.float32, 257, "dense"),
    ],
)
def test_auto_takes_the_fused_kernel_on_a_gpu_where_it_can_serve(monkeypatch, trial, kind, channels, expected):
    class Elsewhere(torch.Tensor):
        """A map that says it is on a GPU."""

        is_cpu, is_cuda = False, True

    scores = torch.zeros(1, channels, 2, 2, dtype=kind).as_subclass(Elsewhere)
    monkeypatch.setattr(affinity_triton, "triton", object())
    monkeypatch.setattr(affinity_fast, "kernel_serves", lambda _: trial)
    assert choose_algorithm(scores, torch.zeros(1, 2, 2).int(), AffinityOptions()) == (expected, None)


def off_by(error):
    def kernel(scores, labels, options, attract, repel, want_gradient):
        value, gradient = dense_affinity(scores, LabelPairs(labels, options), attract, repel, want_gradient)
        gradient[1, 4, 8, 69] += error
        return value, gradient

    return kernel


def without_compiler(*_):
    raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")


@pytest.mark.parametrize(
    ("kernel", "warning"),
    [
        (off_by(0.0), ""),
        (off_by(2e-4), "does not work on cpu (AssertionError: Tensor-likes are not close"),
        (without_compiler, "does not work on cpu (RuntimeError: Failed to find C compiler. Please specify via CC.)"),
    ],
    ids=["right", "wrong", "broken"],
)
def test_the_fused_kernel_is_tried_before_it_is_trusted(monkeypatch, caplog, kernel, warning):
    monkeypatch.setattr(affinity_trial, "triton_affinity", kernel)
    kernel_serves.cache_clear()
    try:
        assert [kernel_serves(torch.device("cpu")) for _ in range(2)] == [not warning] * 2
    finally:
        kernel_serves.cache_clear()
    assert caplog.text.count("does not work") == bool(warning)
    assert warning in caplog.text
    if warning:
        assert "algorithm 'auto' means 'dense' there" in caplog.text
