# SPDX-License-Identifier: Apache-2.0
"""The fused kernel: by Triton's interpreter on the CPU, and on a GPU where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.losses import affinity_terms

CASES = [
    ((2, 3, 3, 40), {}),
    ((1, 5, 4, 7), {"kernel": 5, "margin": 0.7}),
    ((2, 33, 4, 18), {"class_balanced": True, "dilation": 2}),
    ((1, 3, 2, 3, 6), {"ignore_index": 2}),
    ((1, 2, 1, 1), {}),
    ((1, 2, 2, 300), {"kernel": 5, "ignore_index": None}),
]
INTERPRETED = """
import torch
from akd_monai.losses import affinity_terms
from akd_monai.losses._affinity.options import AffinityOptions
from akd_monai.losses._affinity.self_test import kernel_works
from akd_monai.losses._affinity.triton_launch import triton_affinity

for shape, options in {cases}:
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(shape, generator=rng)
    labels = (torch.rand(shape[0], *shape[2:], generator=rng).cumsum(-1) / 2).long() % 3
    leaf = scores.double().requires_grad_()
    attract, repel = affinity_terms(leaf, labels, algorithm="reference", **options)
    expected = 0.3 * attract + repel
    expected.backward()
    for want in (True, False):
        value, gradient = triton_affinity(scores, labels, AffinityOptions(**options), 0.3, 1.0, want)
        torch.testing.assert_close(value.double(), expected.detach(), rtol=1e-5, atol=1e-5)
        if want:
            torch.testing.assert_close(gradient.double(), leaf.grad, rtol=0, atol=2e-5)

# Labels far apart, the least of their type among them, and a label that is 0 in 32 bits.
plain = labels
for far in ([-(2**31), 0, 2**31 - 1], [0, 2**32, 1], [5, -1, 2**40]):
    expected, _ = triton_affinity(scores, plain, AffinityOptions(ignore_index=None), 1.0, 1.0, False)
    for dtype in (torch.int32, torch.int64)[max(far) >= 2**31 :]:
        moved = torch.tensor(far, dtype=dtype)[plain]
        value, _ = triton_affinity(scores, moved, AffinityOptions(ignore_index=None), 1.0, 1.0, False)
        torch.testing.assert_close(value, expected)
assert kernel_works(torch.device("cpu"))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="skipped: triton is not installed")
def test_interpreted_kernel_equals_the_reference():
    # A process of its own: Triton reads the variable once, when it is imported.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", INTERPRETED.format(cases=CASES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="skipped: no CUDA device")
def test_every_algorithm_on_a_gpu_equals_the_reference_on_the_cpu():
    for shape, options in CASES:
        for algorithm in ("auto", "reference", "box", "dense", "triton"):
            check_on_gpu(algorithm, shape, options)


def check_on_gpu(algorithm, shape, options):
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(shape, generator=rng)
    labels = (torch.rand(shape[0], *shape[2:], generator=rng).cumsum(-1) / 2).long() % 3
    leaf, there = scores.double().requires_grad_(), scores.cuda().requires_grad_()
    expected = affinity_terms(leaf, labels, algorithm="reference", **options)
    found = affinity_terms(there, labels.cuda(), algorithm=algorithm, **options)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double().cpu(), other, rtol=1e-5, atol=1e-5)
    sum(expected).backward()
    sum(found).backward()
    torch.testing.assert_close(there.grad.double().cpu(), leaf.grad, rtol=0, atol=2e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="skipped: no CUDA device")
def test_limits_on_a_gpu():
    wide, labels = torch.zeros(1, 300, 2, 2, device="cuda"), torch.zeros(1, 2, 2, device="cuda").int()
    with pytest.raises(InputError, match="at most 256 channels, the scores have 300"):
        affinity_terms(wide, labels, algorithm="triton")
    with pytest.raises(InputError, match=r"float32, the scores are torch.float64"):
        affinity_terms(wide[:, :2].double(), labels, algorithm="triton")
