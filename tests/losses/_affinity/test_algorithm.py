# SPDX-License-Identifier: Apache-2.0
"""Which algorithm computes the affinity loss, and the self-test of the fused kernel before its first use."""

from __future__ import annotations

import pytest
import torch

from akd_monai.losses._affinity import AffinityOptions, algorithm, self_test, triton_kernel
from akd_monai.losses._affinity.algorithm import choose_algorithm, is_reference
from akd_monai.losses._affinity.dense import dense_affinity
from akd_monai.losses._affinity.label_pairs import LabelPairs
from akd_monai.losses._affinity.self_test import kernel_works


def test_auto_takes_box_on_smooth_labels_and_dense_on_ragged_ones():
    rng = torch.Generator().manual_seed(0)
    scores, ragged = torch.randn(1, 9, 32, 32, generator=rng), torch.randint(0, 3, (1, 32, 32), generator=rng)
    smooth = torch.zeros(1, 32, 32, dtype=torch.int64)
    smooth[:, 8:16, 8:16] = 1
    options = AffinityOptions()
    assert choose_algorithm(scores, smooth, options)[0] == "box"
    assert choose_algorithm(scores[:, :8], smooth, options)[0] == "dense"  # 8192 numbers: small
    assert choose_algorithm(scores, ragged, options)[0] == "dense"
    assert not is_reference("auto", scores)
    assert is_reference("auto", scores.to("meta"))


@pytest.mark.parametrize(
    ("works", "kind", "channels", "expected"),
    [
        (True, torch.float32, 256, "triton"),
        (False, torch.float32, 256, "dense"),
        (True, torch.float64, 2, "dense"),
        (True, torch.float32, 257, "dense"),
    ],
)
def test_auto_takes_the_fused_kernel_on_a_gpu_where_it_is_applicable(monkeypatch, works, kind, channels, expected):
    class Elsewhere(torch.Tensor):
        """A map that says it is on a GPU."""

        is_cpu, is_cuda = False, True

    scores = torch.zeros(1, channels, 2, 2, dtype=kind).as_subclass(Elsewhere)
    monkeypatch.setattr(triton_kernel, "triton", object())
    monkeypatch.setattr(algorithm, "kernel_works", lambda _: works)
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
def test_the_fused_kernel_is_tested_before_its_first_use(monkeypatch, caplog, kernel, warning):
    monkeypatch.setattr(self_test, "triton_affinity", kernel)
    kernel_works.cache_clear()
    try:
        assert [kernel_works(torch.device("cpu")) for _ in range(2)] == [not warning] * 2
    finally:
        kernel_works.cache_clear()
    assert caplog.text.count("does not work") == bool(warning)
    assert warning in caplog.text
    if warning:
        assert "algorithm 'auto' means 'dense' there" in caplog.text
