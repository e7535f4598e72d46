# SPDX-License-Identifier: Apache-2.0
"""The table of cases, as an evaluator of MONAI fills it."""

from __future__ import annotations

import logging
import math

import ignite.distributed as idist
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader, MetaTensor, list_data_collate
from monai.engines import SupervisedEvaluator
from monai.inferers import SliceInferer
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    Spacingd,
)

from akd_monai.errors import InputError, NonFiniteError
from akd_monai.handlers import CaseMetrics

COLUMNS = ["case_id", "site", "class", "dice", "hd95_mm", "asd_mm", "reference_ml", "predicted_ml"]
SHAPE, SPACING = (8, 8, 4), (0.5, 0.5, 3.0)
TO_CLASSES = AsDiscreted(keys="pred", argmax=True, to_onehot=2)


class Threshold(torch.nn.Module):
    """Logits whose arg-max is ``image > 0.5``; NaN stays NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x, x - 0.5], dim=1)


def cube(low: int, high: int) -> torch.Tensor:
    mask = torch.zeros(1, *SHAPE)
    mask[:, low:high, 2:6, 1:3] = 1
    return mask


def case(name, predicted, label, site="S1", affine=None, **extra):
    affine = np.diag([*SPACING, 1.0]) if affine is None else affine
    image = MetaTensor(predicted, affine=affine)
    return {"image": image, "label": MetaTensor(label, affine=affine), "case_id": name, "site": site, **extra}


def evaluate(cases, *handlers, postprocessing=TO_CLASSES, batch_size=1, **options):
    loader = DataLoader(cases, batch_size=batch_size)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=Threshold(),
        postprocessing=postprocessing,
        val_handlers=list(handlers),
        **options,
    )
    evaluator.logger.setLevel(logging.CRITICAL)
    evaluator.run()
    return evaluator


def test_table_and_means(tmp_path):
    cases = [
        case("b", cube(3, 5), cube(2, 4)),  # half of it: Dice 0.5, one step of 0.5 mm
        case("a", cube(2, 4), cube(2, 4)),
        case("c", cube(0, 0), cube(2, 4)),  # nothing found
        case("a", cube(0, 0), cube(0, 0), site="S0"),  # nothing there, nothing found
    ]
    evaluator = evaluate(cases, CaseMetrics(tmp_path, class_names=["gland"]), batch_size=2)
    table = pd.read_csv(tmp_path / "per_case.csv")
    assert list(table.columns) == COLUMNS
    assert table[["site", "case_id"]].apply("/".join, axis=1).tolist() == ["S0/a", "S1/a", "S1/b", "S1/c"]
    assert set(table["class"]) == {"gland"}
    np.testing.assert_allclose(table["dice"], [math.nan, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(table["hd95_mm"], [math.nan, 0.0, 0.5, math.nan])
    # One of two layers of either cube lies on the other: half of the distances are 0, half 0.5 mm.
    np.testing.assert_allclose(table["asd_mm"], [math.nan, 0.0, 0.25, math.nan])
    # 2 x 4 x 2 voxels of 0.75 cubic millimetres.
    np.testing.assert_allclose(table["reference_ml"], [0, 0.012, 0.012, 0.012])
    np.testing.assert_allclose(table["predicted_ml"], [0, 0.012, 0.012, 0])
    metrics = evaluator.state.metrics
    assert metrics["dice_mean"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics["hd95_mm_mean"] == pytest.approx(0.25)
    assert metrics["asd_mm_mean"] == pytest.approx(0.125)
    assert (metrics["undefined_dice"], metrics["undefined_hd95"], metrics["undefined_asd"]) == (1, 2, 2)


def test_all_undefined_is_never_a_perfect_score(tmp_path):
    evaluator = evaluate([case("a", cube(0, 0), cube(2, 4))], CaseMetrics(tmp_path))
    assert math.isnan(evaluator.state.metrics["hd95_mm_mean"])
    assert evaluator.state.metrics["undefined_hd95"] == 1
    assert (tmp_path / "per_case.csv").read_text().splitlines()[1] == "a,S1,1,0.000000,nan,nan,0.012000,0.000000"


def test_each_run_starts_afresh_and_leaves_one_file(tmp_path):
    handler = CaseMetrics(tmp_path / "new" / "folder")
    evaluator = evaluate([case("a", cube(2, 4), cube(2, 4))], handler)
    evaluator.run(2)
    assert len(pd.read_csv(handler.path)) == len(handler.table()) == 1
    assert [p.name for p in handler.path.parent.iterdir()] == ["per_case.csv"]


def test_one_hot_label_and_class_numbers_as_prediction():
    both = Compose([AsDiscreted(keys="pred", argmax=True), AsDiscreted(keys="label", to_onehot=2)])
    handler = CaseMetrics()
    evaluate([case("a", cube(3, 5), cube(2, 4))], handler, postprocessing=both)
    assert handler.table()["dice"].tolist() == [0.5]


def test_several_classes_have_a_row_each():
    two = torch.cat([cube(2, 4), cube(5, 7)])
    one_hot = torch.cat([1 - two.sum(0, keepdim=True), two])
    handler = CaseMetrics(class_names=["gland", "lesion"])
    label = case("a", cube(0, 0), cube(2, 4) + 2 * cube(4, 6))
    evaluate([label], handler, postprocessing=lambda d: {**d, "pred": MetaTensor(one_hot, affine=d["label"].affine)})
    assert handler.table()[["class", "dice"]].to_numpy().tolist() == [["gland", 1.0], ["lesion", 0.5]]


def test_name_of_a_case_without_case_id():
    named, nameless = case("x", cube(2, 4), cube(2, 4)), case("x", cube(2, 4), cube(2, 4))
    del named["case_id"], nameless["case_id"]
    named["image"].meta["filename_or_obj"] = "/data/S1/Case07.nii.gz"
    handler = CaseMetrics()
    evaluate([named], handler)
    assert handler.table()["case_id"].tolist() == ["S1/Case07"]
    del nameless["site"]
    evaluate([nameless], handler)
    assert handler.table()[["case_id", "site"]].to_numpy().tolist() == [["case_0001", ""]]


@pytest.mark.fault(
    "Numbers",
    "a network returns NaN in validation",
    injected="one logit is NaN",
    outcome="evaluation ends and names the case; arg max would hide it",
)
def test_nan_is_seen_before_the_arg_max_hides_it(tmp_path):
    broken = cube(2, 4)
    broken[0, 0, 0, 0] = math.nan
    cases = [case("good", cube(2, 4), cube(2, 4)), case("bad", broken, cube(2, 4))]
    with pytest.raises(NonFiniteError, match=r"NaN or infinite values for 'bad'"):
        evaluate(cases, CaseMetrics(tmp_path), batch_size=2)
    assert not list(tmp_path.iterdir())


def test_nan_made_by_postprocessing():
    with pytest.raises(NonFiniteError, match="values for 'a'"):
        evaluate(
            [case("a", cube(2, 4), cube(2, 4))], CaseMetrics(), postprocessing=lambda d: {**d, "pred": d["pred"] / 0}
        )


def moved(shift_mm):
    affine = np.diag([*SPACING, 1.0])
    affine[0, 3] = shift_mm
    return lambda d: {**d, "pred": MetaTensor((d["pred"][1:] > 0).float().as_tensor(), affine=affine)}


@pytest.mark.parametrize(
    ("postprocessing", "message"),
    [
        (lambda d: {**d, "pred": d["pred"][:, :-1]}, r"case 'a': .*differ in shape: \[7, 8, 4\] and \[8, 8, 4\]"),
        (lambda d: {**d, "pred": d["pred"].softmax(0)}, r"case 'a': .*0 and 1 only"),
        (lambda d: {**d, "pred": d["pred"][..., 0]}, r"case 'a': .*differ in shape: \[8, 8\] and \[8, 8, 4\]"),
        (moved(0.2), r"case 'a': .*0\.20 mm apart"),
        (lambda d: {**d, "label": (d["label"] * 255), "pred": d["pred"].argmax(0) > 0}, "case 'a'"),
        (lambda d: {**d, "label": d["label"].as_tensor(), "pred": d["pred"].as_tensor()}, "case 'a': neither"),
        (lambda d: {**d, "pred": "a file"}, "case 'a': the evaluator gave no tensor 'pred'"),
        (lambda d: {**d, "label": torch.cat([d["label"]] * 3)}, "case 'a': .*2 and 3 channels"),
    ],
    ids=["shape", "probabilities", "slice", "moved", "labels", "no affine", "no tensor", "channels"],
)
def test_cases_that_cannot_be_evaluated_are_named(postprocessing, message):
    with pytest.raises(InputError, match=message):
        evaluate([case("a", cube(2, 4), cube(2, 4))], CaseMetrics(), postprocessing=postprocessing)


def test_rounding_of_an_affine_is_no_other_grid():
    handler = CaseMetrics()
    evaluate([case("a", cube(2, 4), cube(2, 4))], handler, postprocessing=moved(0.05))
    assert handler.table()["dice"].tolist() == [1.0]


@pytest.mark.fault(
    "Wrong input",
    "a case is evaluated twice",
    injected="the same case in two batches",
    outcome="refused, named",
)
def test_the_same_case_twice_is_refused():
    with pytest.raises(InputError, match="case 'a' of site 'S1' came twice"):
        evaluate([case("a", cube(2, 4), cube(2, 4))] * 2, CaseMetrics())


def test_a_batch_that_is_not_decollated_is_refused():
    with pytest.raises(InputError, match="decollate=True"):
        evaluate([case("a", cube(2, 4), cube(2, 4))], CaseMetrics(), postprocessing=None, decollate=False)


def test_an_evaluation_stopped_early_writes_no_table(tmp_path, caplog):
    class Stop:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: e.terminate())

    evaluate([case(n, cube(2, 4), cube(2, 4)) for n in "ab"], CaseMetrics(tmp_path), Stop())
    assert not list(tmp_path.iterdir())
    assert "would lack cases" in caplog.text


@pytest.mark.fault(
    "Disk, memory and processes",
    "an evaluation fails",
    injected="a case comes twice",
    outcome="the table of the evaluation before is kept",
)
def test_an_earlier_table_survives_a_failing_run(tmp_path):
    (tmp_path / "per_case.csv").write_text("old")
    with pytest.raises(InputError):
        evaluate([case("a", cube(2, 4), cube(2, 4))] * 2, CaseMetrics(tmp_path))
    assert (tmp_path / "per_case.csv").read_text() == "old"


def test_rows_of_all_processes_are_joined(tmp_path, monkeypatch):
    handler = CaseMetrics(tmp_path)
    other = CaseMetrics()
    evaluate([case("b", cube(3, 5), cube(2, 4)), case("a", cube(2, 4), cube(2, 4))], other)
    monkeypatch.setattr(idist, "all_gather", lambda rows: [rows, other._rows])
    handler._rows = other._rows[1:]
    # "a" was evaluated by both, as a sampler does that gives every process the same number of cases.
    assert handler.table()["case_id"].tolist() == ["a", "b"]


def test_volumes_from_files_by_slices_on_their_own_grid(tmp_path):
    """Oblique, left-handed and anisotropic files go through resampling and back; the network sees slices."""
    label = np.zeros((12, 10, 6), dtype=np.uint8)
    label[3:9, 2:8, 1:5] = 1
    affine = np.array([[0, 0.8, 0, 5], [-0.5, 0, 0.1, 2], [0, 0, 3.0, -7], [0, 0, 0, 1]])
    for name, data in (("image", label * 1.0), ("label", label)):
        nib.save(nib.Nifti1Image(data, affine), tmp_path / f"{name}.nii.gz")
    keys = ["image", "label"]
    preprocessing = Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            Spacingd(keys, pixdim=(0.4, 0.4, -1), mode=("bilinear", "nearest")),
        ]
    )
    item = {"image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
    data = CacheDataset([item], preprocessing, progress=False)
    back = [Invertd(["pred", "label"], preprocessing, ["image", "label"], nearest_interp=[False, True]), TO_CLASSES]
    handler = CaseMetrics()
    inferer = SliceInferer(roi_size=(32, 32), spatial_dim=2, sw_batch_size=2)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(data, collate_fn=list_data_collate),
        network=Threshold(),
        inferer=inferer,
        postprocessing=Compose(back),
        val_handlers=[handler],
    )
    evaluator.run()
    row = handler.table().iloc[0]
    assert row["case_id"] == f"{tmp_path.name}/image"
    assert row["dice"] > 0.9
    voxel_ml = 0.8 * 0.5 * math.hypot(0.1, 3.0) / 1000
    assert row["reference_ml"] == pytest.approx(int(label.sum()) * voxel_ml, rel=1e-4)
