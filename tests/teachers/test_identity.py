# SPDX-License-Identifier: Apache-2.0
"""What tells one teacher from another: its code, its settings, its numbers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from akd_monai.identity import code_facts, plain_text
from akd_monai.teachers._identity import image_tags, teacher_identity

CODE = """
import torch
from torch import nn


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Tanh())
        self.body[0].weight.data.fill_(0.5)
        self._factors, self.how = {"all": (1.0, 2)}, torch.relu
        self.shift = torch.tensor([0.0, 1.0])

    def forward(self, x):
        return FACTOR * self.body(x)
"""


def network_of(path, code):
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("scaled_network", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaled_network"] = module
    spec.loader.exec_module(module)
    return module.Scaled()


@pytest.fixture(autouse=True)
def forget_module():
    yield
    sys.modules.pop("scaled_network", None)


def test_it_is_the_same_in_every_process_and_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    here = teacher_identity(network_of(tmp_path / "scaled_network.py", CODE))
    assert here == teacher_identity(network_of(tmp_path / "elsewhere" / "scaled_network.py", CODE))
    command = (
        "import sys; sys.path.insert(0, '.'); from scaled_network import Scaled;"
        "from akd_monai.teachers._identity import teacher_identity; print(teacher_identity(Scaled()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == here, done.stderr


def change(network, what):
    if what == "weight":
        network.body[0].weight.data[0] += 1e-7
    elif what == "activation":
        network.body[1] = nn.ReLU()
    elif what == "hidden setting":
        network._factors["all"] = (1.0, 3)
    elif what == "function":
        network.how = torch.tanh
    elif what == "tensor that is no buffer":
        network.shift[0] = 1e-7
    else:
        network.body[0].padding_mode = "circular"


@pytest.mark.parametrize(
    "what", ["weight", "activation", "hidden setting", "function", "tensor that is no buffer", "setting of a module"]
)
def test_each_change_is_another_teacher(tmp_path, what):
    network = network_of(tmp_path / "scaled_network.py", CODE)
    before = teacher_identity(network)
    assert teacher_identity(network.train().eval()) == before
    change(network, what)
    assert teacher_identity(network) != before


def test_changed_code_is_another_teacher(tmp_path):
    path = tmp_path / "scaled_network.py"
    found = {teacher_identity(network_of(path, code)) for code in (CODE, CODE.replace("FACTOR *", "2 * FACTOR *"))}
    assert len(found) == 2


def test_code_of_a_base_class_counts_and_another_pytorch(tmp_path, monkeypatch):
    base = type(network_of(tmp_path / "scaled_network.py", CODE))
    own = type("Own", (base,), {"__module__": "no_such_module"})
    assert [fact.split()[0] for fact in code_facts(own())] == ["torch", "no_such_module.Own", "scaled_network.Scaled"]
    before = teacher_identity(own())
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert teacher_identity(own()) != before


@dataclass
class Settings:
    """What a network might keep."""

    scale: float = 1.5


class Way(Enum):
    """A choice."""

    UP = 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b", "a"}, "{'a', 'b'}"),
        ((1, [2.5, None], True), "[1, [2.5, None], True]"),
        (torch.Size([1, 2]), "[1, 2]"),
        (torch.float16, "torch.float16"),
        (np.int64(3), "np.int64(3)"),
        (Way.UP, "<Way.UP: 1>"),
        (Settings(), "Settings {'scale': 1.5}"),
        (partial(torch.nn.functional.relu, inplace=True), "partial [relu, [], {'inplace': True}]"),
        (nn.ReLU(), "ReLU"),
        (object(), "object"),
    ],
)
def test_values_as_text(value, text):
    assert plain_text(value) == text


@pytest.mark.parametrize("make", [np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.bfloat16)])
def test_arrays_as_text_tell_their_numbers(make):
    assert plain_text(make([0, 1, 2])) == plain_text(make([0, 1, 2])) != plain_text(make([0, 1, 3]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_every_changed_value_and_every_exchange_changes_the_tag_of_an_image(dtype):
    image = torch.arange(12, dtype=dtype).reshape(1, 1, 3, 4)
    changed = [image.flip(-1), image.transpose(-1, -2).reshape(image.shape)]
    for number in range(12):
        other = image.clone()
        other.view(-1)[number] += 1
        changed.append(other)
    tags = image_tags(torch.cat([image, *changed]))
    assert len(set(tags)) == 15
    assert image_tags(image) == tags[:1]
