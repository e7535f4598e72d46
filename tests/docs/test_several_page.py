# SPDX-License-Identifier: Apache-2.0
"""The page on several, adapted and averaged teachers: its program runs, and its flags exist."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import torch
from docs_tools import blocks, commands
from monai.bundle import ConfigParser

from akd_monai.bundle import distill_bundle, workflow

PAGE = "how-to/several-teachers.md"


def test_the_loop_adapts_three_teachers_and_averages_the_student():
    scope: dict = {}
    exec(blocks(PAGE, "python")[0], scope)
    assert len(scope["teachers"]) == 3
    statistics = [buffer for name, buffer in scope["teachers"].named_buffers() if name.endswith("running_mean")]
    assert all(bool(buffer.any()) for buffer in statistics)
    assert int(scope["average"].average.n_averaged) == 11
    pairs = zip(scope["average"].network.parameters(), scope["student"].parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_flags_of_the_page_are_ids():
    overlay = ConfigParser.load_config_file(str(Path(workflow.__file__).with_name("distill.json")))
    known = {*signature(distill_bundle).parameters, *overlay, "dataset_dir"}
    flags = set()
    for command in commands(PAGE):
        assert command[0] == "distill"
        flags |= {word[2:].split("=")[0] for word in command if word.startswith("--")}
    assert {"teacher_weights", "teacher_norm", "ema_decay"} <= flags
    assert flags <= known
