# SPDX-License-Identifier: Apache-2.0
"""``evaluate_bundle`` with bundles that know nothing of this package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from foreign_tools import STUDENT, foreign_bundle, network, write_cubes
from monai.bundle import ConfigParser

from akd_monai.bundle import evaluate_bundle
from akd_monai.errors import BundleError, InputError

LOADER = {"_target_": "CheckpointLoader", "load_path": "$@ckpt_dir + '/best.pt'", "load_dict": {"model": "@network"}}
SAVER = {"_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": ["val_dice"], "metric_details": ["val_dice"]}
POST = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3},
]
METRIC = {"val_dice": {"_target_": "MeanDice", "include_background": False,
                       "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"}}  # fmt: skip
EVALUATOR = {
    "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@validate#dataloader",
    "network": "@network", "inferer": {"_target_": "SimpleInferer"}, "key_val_metric": METRIC,
    "postprocessing": {"_target_": "Compose", "transforms": POST}, "val_handlers": "@validate#handlers",
}  # fmt: skip
EVALUATE = {
    "output_dir": "$@bundle_root + '/eval'",
    "validate": {
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": ["image", "label"], "ensure_channel_first": True},
            {"_target_": "CenterSpatialCropd", "keys": ["image", "label"], "roi_size": [32, 32, 32]},
        ]},
        "dataset": {"_target_": "Dataset", "data": "@train#dataset#data", "transform": "@validate#preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1},
        "handlers": [LOADER, SAVER],
        "evaluator": EVALUATOR,
    },
    "run": ["$@validate#evaluator.run()"],
}  # fmt: skip


def write(root: Path, data: Path, suffix: str = "json", **changed: object) -> Path:
    foreign_bundle(root, STUDENT, data)
    content = {**EVALUATE, **changed}
    ConfigParser.export_config_file(content, str(root / "configs" / f"evaluate.{suffix}"), fmt=suffix)
    torch.manual_seed(0)
    torch.save(network(STUDENT).state_dict(), root / "models" / "best.pt")
    return root


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return write_cubes(tmp_path_factory.mktemp("evaluated") / "data")


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_means_and_table_of_a_foreign_bundle(tmp_path, cubes, suffix):
    found = evaluate_bundle(write(tmp_path / "b", cubes, suffix))
    assert found.table == tmp_path / "b" / "eval" / "val_dice_raw.csv"
    rows = found.table.read_text().splitlines()[1:]
    # one row for each of the two cases; the last column is the mean of its classes
    means = [float(row.replace("\t", ",").split(",")[-1]) for row in rows]
    assert found.metrics["val_dice"] == pytest.approx(sum(means) / 2, abs=1e-4)
    assert found.metrics["val_dice"] > 0


def test_an_own_run_id_and_no_table(tmp_path, cubes):
    root = write(tmp_path / "b", cubes, run=["$print"], evaluating=EVALUATE["run"])
    content = json.loads((root / "configs" / "evaluate.json").read_text())
    del content["run"]
    content["validate"]["handlers"] = [LOADER]
    (root / "configs" / "evaluate.json").write_text(json.dumps(content))
    train = root / "configs" / "train.json"
    kept = {name: value for name, value in json.loads(train.read_text()).items() if name != "run"}
    train.write_text(json.dumps(kept))
    found = evaluate_bundle(root)
    assert found.table is None
    assert "Cases" not in str(found)
    with pytest.raises(
        InputError, match=r"writes no per_case.csv, so its results cannot be published; leave out publish"
    ):
        evaluate_bundle(root, publish="cubes")


def test_what_cannot_be_done_names_no_id_that_was_not_typed(tmp_path, cubes):
    root = write(tmp_path / "b", cubes)
    with pytest.raises(InputError, match=r"know no parts of the data; leave out part"):
        evaluate_bundle(root, part="training")
    with pytest.raises(InputError, match=r"unknown config id 'batchsize'"):
        evaluate_bundle(root, batchsize=2)
    (root / "models" / "best.pt").unlink()
    with pytest.raises(InputError, match=r"models/best.pt: the weights do not exist; train the bundle first"):
        evaluate_bundle(root)
    (root / "configs" / "evaluate.json").unlink()
    with pytest.raises(
        InputError, match=r"no configs/evaluate.json or .yaml, which evaluation needs; add one: evaluate"
    ):
        evaluate_bundle(root)


def test_an_error_of_the_bundle_is_one_line(tmp_path, cubes):
    broken = {**EVALUATE["validate"], "dataloader": {"_target_": "DataLoader", "dataset": "$1 / 0"}}
    with pytest.raises(BundleError, match="ZeroDivisionError"):
        evaluate_bundle(write(tmp_path / "b", cubes, validate=broken))
