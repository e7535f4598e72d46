# SPDX-License-Identifier: Apache-2.0
"""The expected calibration error, against a loop and by hand, and its place in the table of cases."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd

from akd_monai.errors import InputError
from akd_monai.handlers import CaseMetrics
from akd_monai.handlers._calibration import BINS, reliability

COPY = CopyItemsd("pred", names="probability")
SOFTMAX = Activationsd("pred", softmax=True)
TO_CLASSES = AsDiscreted("pred", argmax=True, to_onehot=2)


def looped(probability, reference):
    """Guo's sum in float64, voxel by voxel."""
    members = {b: [] for b in range(BINS)}
    for p, r in zip(probability.ravel(), reference.ravel(), strict=True):
        members[min(int(np.floor(p * BINS)), BINS - 1)].append((p, r))
    error = 0.0
    for voxels in members.values():
        if voxels:
            mean, fraction = np.mean(np.array(voxels, dtype=np.float64), axis=0)
            error += len(voxels) / probability.size * abs(mean - fraction)
    return error


@pytest.mark.parametrize("seed", [0, 1])
def test_error_equals_the_loop(seed):
    generator = np.random.default_rng(seed)
    probability = generator.beta(0.3, 0.6, (7, 6, 5))
    probability[0, 0, :3] = (0.0, 1.0, 0.5)
    reference = generator.random((7, 6, 5)) < probability**2
    found = reliability(torch.from_numpy(probability), torch.from_numpy(reference))
    assert found.error() == pytest.approx(looped(probability, reference), abs=1e-12)
    assert found.voxels.sum() == probability.size


def test_limits_by_hand():
    """Sure and right is 0, sure and wrong is 1; 0.75 everywhere with three of four inside is 0."""
    inside = torch.tensor([[[True, True, True, False]]])
    assert reliability(inside.float(), inside).error() == 0
    assert reliability((~inside).float(), inside).error() == 1
    assert reliability(torch.full((1, 1, 4), 0.75), inside).error() == pytest.approx(0)
    assert reliability(torch.full((1, 1, 4), 0.95), inside).error() == pytest.approx(0.2)


def test_logits_are_refused():
    with pytest.raises(InputError, match=r"must be from 0 to 1, got -3 to 4; copy them after the softmax"):
        reliability(torch.tensor([[[-3.0, 4.0]]]), torch.ones(1, 1, 2, dtype=torch.bool))


def test_nan_is_refused():
    with pytest.raises(InputError, match="must be from 0 to 1"):
        reliability(torch.tensor([[[float("nan"), 0.5]]]), torch.ones(1, 1, 2, dtype=torch.bool))


def test_another_grid_is_refused():
    with pytest.raises(InputError, match=r"differ in shape: \[1, 1, 2\] and \[1, 1, 3\]"):
        reliability(torch.zeros(1, 1, 2), torch.ones(1, 1, 3, dtype=torch.bool))


def case(name, logits, label):
    volumes = {"image": torch.tensor(logits), "label": torch.tensor(label)}
    return {"case_id": name, "site": "S1", **{k: MetaTensor(v.reshape(1, 1, 2, 2)) for k, v in volumes.items()}}


class Two(torch.nn.Module):
    """Background 0, foreground as the image says."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), x], dim=1)


def evaluate(cases, handler, *transforms):
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(cases, batch_size=1),
        network=Two(),
        postprocessing=Compose([*transforms, TO_CLASSES]),
        val_handlers=[handler],
    )
    evaluator.logger.setLevel(logging.CRITICAL)
    evaluator.run()
    return evaluator.state.metrics


CASES = [
    # probabilities 1/(1 + exp(-z)) of 0.9 and 0.1, with half of the sure ones inside
    case("b", [np.log(9.0), np.log(9.0), -np.log(9.0), -np.log(9.0)], [1, 0, 0, 0]),
    case("a", [np.log(9.0), np.log(9.0), -np.log(9.0), -np.log(9.0)], [1, 1, 0, 0]),
]


def test_a_column_and_a_table_of_bins(tmp_path):
    metrics = evaluate(CASES, CaseMetrics(tmp_path, class_names=["gland"]), SOFTMAX, COPY)
    table = pd.read_csv(tmp_path / "per_case.csv")
    assert table.columns[-1] == "ece"
    # a: both bins are 0.1 off; b: 0.9 against a half, and 0.1 against none
    np.testing.assert_allclose(table["ece"], [0.1, (0.4 + 0.1) / 2], atol=1e-6)
    assert metrics["ece_mean"] == pytest.approx(0.175)
    bins = pd.read_csv(tmp_path / "calibration.csv")
    assert list(bins.columns) == ["case_id", "site", "class", "bin", "voxels", "probability", "fraction"]
    expected = [["a", 1, 2, 0.1, 0.0], ["a", 13, 2, 0.9, 1.0], ["b", 1, 2, 0.1, 0.0], ["b", 13, 2, 0.9, 0.5]]
    assert bins[["case_id", "bin", "voxels", "probability", "fraction"]].to_numpy().tolist() == expected


def test_without_probabilities_there_is_no_column(tmp_path):
    metrics = evaluate(CASES, CaseMetrics(tmp_path), SOFTMAX)
    assert "ece" not in pd.read_csv(tmp_path / "per_case.csv")
    assert "ece_mean" not in metrics
    assert not (tmp_path / "calibration.csv").exists()


def test_the_wrong_place_of_the_copy_is_said_with_the_case(tmp_path):
    with pytest.raises(InputError, match=r"case 'b': probabilities must be from 0 to 1.*CopyItemsd after Activationsd"):
        evaluate(CASES, CaseMetrics(tmp_path), COPY)


def test_probabilities_of_another_number_of_classes(tmp_path):
    handler = CaseMetrics(tmp_path, class_names=["gland"])
    with pytest.raises(InputError, match="probabilities have 3 channels for 1 classes"):
        evaluate(CASES, handler, SOFTMAX, lambda d: {**d, "probability": torch.zeros(3, 1, 2, 2)})
