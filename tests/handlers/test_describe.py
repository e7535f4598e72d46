# SPDX-License-Identifier: Apache-2.0
"""Two objects with other settings are described in other words, two with the same settings in the same."""

from __future__ import annotations

import inspect
import json
from functools import partial
from pathlib import Path

import monai.transforms
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, Dataset, PersistentDataset
from torch import nn

from akd_monai.handlers._data_facts import DataFacts
from akd_monai.handlers._describe import describe

NEEDED = {"keys": "image", "spatial_size": [8, 8], "roi_size": [4, 4], "pixdim": [1.0, 1.0], "axcodes": "RAS"} | {
    "minv": 0.0, "prob": 0.3, "gamma": 2.0, "a_min": 0.0, "a_max": 1.0, "b_min": 0.0, "b_max": 1.0, "lower": 1,
    "upper": 99, "offsets": 0.2, "factors": 0.2, "spatial_border": 2, "zoom": 1.2, "angle": 0.3, "label_key": "label",
    "num_samples": 2, "sigma": 1.0, "radius": 1, "dim": 0, "split_dim": 0, "k": 3, "func": str,
}  # fmt: skip
# they only say what happened, or where a file is written
NO_SETTING = {"device", "allow_missing_keys", "image_only", "verbose", "log_stats"}
WRITERS = ("Save", "SobelGradients")


def text(value):
    return json.dumps(describe(value), sort_keys=True)


def required(kind):
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return named, [p.name for p in named if p.default is p.empty]


def transforms_of_monai():
    for name in sorted(dir(monai.transforms)):
        kind = getattr(monai.transforms, name)
        is_transform = inspect.isclass(kind) and issubclass(kind, monai.transforms.Transform)
        if is_transform and not name.endswith(("D", "Dict")) and not name.startswith(WRITERS):
            parameters, missing = required(kind)
            if set(missing) <= NEEDED.keys():
                yield kind, parameters, {name: NEEDED[name] for name in missing}


def another(name, value):
    if name == "keys":
        return "other"
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 2 if isinstance(value, int) else value * 0.5 + 0.03
    return None


def changed(kind, given, parameter):
    value = another(parameter.name, given.get(parameter.name, parameter.default))
    if value is None or parameter.name in NO_SETTING:
        return None
    try:
        return text(kind(**{**given, parameter.name: value}))
    except (ValueError, TypeError, NotImplementedError, ImportError, RuntimeError):
        return None  # MONAI refuses the value


@pytest.mark.filterwarnings("ignore")
def test_every_number_of_every_transform_of_monai_is_told():
    compared = 0
    missed = []
    for kind, parameters, given in transforms_of_monai():
        try:
            before = text(kind(**given))
        except (ValueError, TypeError, ImportError):
            continue
        for parameter in parameters:
            found = changed(kind, given, parameter)
            compared += found is not None
            if found == before:
                missed.append(f"{kind.__name__}.{parameter.name}")
    assert missed == []
    assert compared > 400


class Mine:
    def __init__(self, p):
        self.probability = p
        self._state = object()
        self.device = torch.device("cpu")


def weighted(value):
    return nn.CrossEntropyLoss(torch.tensor([1.0, value]))


def closing_over(value):
    return lambda image: image * value


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Mine(0.5), Mine(0.5), Mine(0.25)),
        (lambda x: x + 1, lambda x: x + 1, lambda x: x + 2),
        (closing_over(2), closing_over(2), closing_over(3)),
        (partial(max, 1), partial(max, 1), partial(max, 2)),
        (partial(int, base=2), partial(int, base=2), partial(int, base=3)),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])),
        (np.arange(3), np.arange(3), np.arange(4)),
        (weighted(1.0), weighted(1.0), weighted(2.0)),
        ({"a": {1, 2}}, {"a": {2, 1}}, {"a": {1, 3}}),
        (list(range(1000)), list(range(1000)), [*range(999), 0]),
        (nn.functional.relu, nn.functional.relu, nn.functional.gelu),
        (float("nan"), float("nan"), 0.0),
        ([nn.ReLU(), nn.ELU()], [nn.ReLU(), nn.ELU()], [nn.ELU(), nn.ReLU()]),
    ],
    ids=range(13),
)  # fmt: skip
def test_settings_are_told_apart(one, same, other):
    assert text(one) == text(same) != text(other)


def test_places_and_trained_values_are_no_settings():
    assert describe(["/home/ada/x", "relative/name", torch.device("cuda"), torch.Generator(), Path("/a")]) == [
        "relative/name"
    ]
    assert text(nn.Linear(2, 1)) == text(nn.Linear(2, 1))


def test_what_contains_itself_is_described_once():
    loop = Mine(1)
    loop.itself = loop
    assert describe(loop) == {"class": "Mine", "itself": "...", "probability": 1}


@pytest.fixture
def files(tmp_path):
    for name in ("a.nii", "b.nii"):
        (tmp_path / name).write_bytes(name.encode())
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"slice")
    return tmp_path


def data_of(folder):
    return [
        {"image": str(folder / "a.nii"), "label": folder / "b.nii", "case_id": "BMC/Case00"},
        {"image": [str(folder / "series"), str(folder / "missing.nii")], "label": np.zeros(2), "site": "BMC"},
    ]


def test_a_case_is_known_by_the_content_of_files_and_folders(files, tmp_path_factory):
    facts = DataFacts().of(Dataset(data_of(files)))
    assert facts["data"]["order"] == ["BMC/Case00", "case 1"]
    assert "missing.nii" in str(facts)
    assert str(files) not in str(facts)
    for name in ("a.nii", "b.nii", "series/1.dcm"):
        before = (files / name).read_bytes()
        (files / name).write_bytes(before[::-1])
        assert DataFacts().of(Dataset(data_of(files))) != facts
        (files / name).write_bytes(before)
    assert DataFacts().of(Dataset(data_of(files))) == facts


def test_a_cache_changes_no_item_and_so_no_fact(files, tmp_path):
    flip = monai.transforms.RandFlipd("label")
    data = [{"label": np.zeros((1, 2, 2))}]
    facts = DataFacts().of(Dataset(data, flip))
    assert DataFacts().of(CacheDataset(data, flip, progress=False)) == facts
    assert DataFacts().of(PersistentDataset(data, flip, cache_dir=tmp_path / "cache")) == facts
    assert DataFacts().of(Dataset(data, monai.transforms.RandFlipd("label", prob=0.9))) != facts


def test_cases_of_one_name_and_very_many_cases():
    facts = DataFacts().of(Dataset([{"image": 1, "case_id": "a"}, {"image": 2, "case_id": "a"}]))
    assert facts["data"] == {"a": {"image": 1}, "a'": {"image": 2}, "order": ["a", "a'"]}
    many = DataFacts().of(Dataset([{"image": n, "case_id": str(n)} for n in range(3000)]))
    assert many["data"]["count"] == 3000


def test_batches_given_as_a_list_are_known_by_content():
    batch = {"image": torch.zeros(2), "label": torch.ones(2)}
    assert DataFacts().of([batch]) == DataFacts().of([batch]) != DataFacts().of([{**batch, "label": torch.zeros(2)}])
