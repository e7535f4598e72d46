# SPDX-License-Identifier: Apache-2.0
"""Which cases are shown, from which files, and which way up."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from made_up import SHAPE, add_files, blob, record, rows, save

from akd_monai.experiments._pictures import chosen_cases, contour_rows


def test_worst_and_best_case_are_always_shown():
    results = record()
    results["systems"][-1]["per_case"] = rows([0.5, 0.9, 0.1, math.nan, 0.7, 0.3, 0.8, 0.2])
    results["images"] = {f"S3/Case{i:02d}": {"image": "", "label": ""} for i in range(8)}
    assert chosen_cases(results, limit=3) == ["S3/Case03", "S3/Case00", "S3/Case01"]
    assert len(chosen_cases(results)) == 6
    del results["images"]["S3/Case03"]
    assert chosen_cases(results, limit=2) == ["S3/Case02", "S3/Case01"]


def test_rows_hold_the_masks_of_each_system(tmp_path):
    picture = contour_rows(record(tmp_path), ".")
    assert picture[1] == []
    first = picture[0][0]
    assert first.title == "S3/Case00\nslice 2 of 6"
    assert first.image.shape == first.reference.shape == (SHAPE[1], SHAPE[0])
    assert first.spacing == (0.75, 0.5)
    assert list(first.predictions) == ["Teacher (UNet++), zero-shot", "ENet alone", "ENet distilled"]
    assert [int(m.sum()) for m in first.predictions.values()] == [11 * 12, 0, 9 * 12]
    assert first.dice["ENet alone"] == pytest.approx(0.6)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_front_is_up_and_the_right_is_at_the_left_whatever_the_axes(tmp_path, flips):
    image = np.zeros(SHAPE, dtype=np.float32)
    # Right, front and lower part of the body, in axes that run to the right, to the front and to the head.
    image[20:, 16:, :3] = 1
    affine = np.diag([0.5, 0.75, 3.0, 1.0])
    for axis, flip in enumerate(flips):
        if flip < 0:
            image = np.flip(image, axis)
            affine[axis, 3] = affine[axis, axis] * (SHAPE[axis] - 1)
            affine[axis, axis] *= -1
    label = (image > 0).astype(np.uint8)
    results = record()
    results["images"] = {
        "S3/Case00": {
            "image": save(tmp_path / "i.nii.gz", image, affine),
            "label": save(tmp_path / "l.nii.gz", label, affine),
        }
    }
    (only,), left_out = contour_rows(results, ".")
    assert not left_out
    assert only.reference[: SHAPE[1] - 16, : SHAPE[0] - 20].all()
    assert only.reference.sum() == (SHAPE[1] - 16) * (SHAPE[0] - 20)
    assert np.array_equal(only.image > 0, only.reference)


def damaged(kind):
    def damage(path):
        if kind == "missing":
            path.unlink()
        elif kind == "no image":
            path.write_bytes(b"<html>")
        elif kind == "truncated":
            path.write_bytes(path.read_bytes()[:-200])
        elif kind == "bits":
            content = bytearray(path.read_bytes())
            content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
            path.write_bytes(content)
        elif kind == "half a volume":
            path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-500]))

    return damage


@pytest.mark.parametrize("kind", ["missing", "no image", "truncated", "half a volume"])
def test_a_file_that_cannot_be_read_is_named_without_its_folder(tmp_path, kind):
    results = record(tmp_path)
    damaged(kind)(Path(results["images"]["S3/Case00"]["image"]))
    pictured, left_out = contour_rows(results, ".")
    assert [p.title.split("\n")[0] for p in pictured] == ["S3/Case01"]
    assert left_out == ["Case00.nii.gz could not be read, so its picture is skipped."]


def test_flipped_bits_stop_nothing(tmp_path):
    results = record(tmp_path)
    damaged("bits")(Path(results["images"]["S3/Case00"]["image"]))
    assert [p.title.split("\n")[0] for p in contour_rows(results, ".")[0]][-1] == "S3/Case01"


def test_a_prediction_on_another_grid_is_left_out(tmp_path):
    results = record(tmp_path)
    moved = np.diag([0.5, 0.75, 3.0, 1.0])
    moved[0, 3] = 4
    save(Path(results["systems"][0]["predictions"]["S3/Case00"]), blob(9, 20), moved)
    save(Path(results["systems"][1]["predictions"]["S3/Case00"]), blob(9, 20)[..., :3])
    pictured, left_out = contour_rows(results, ".")
    assert list(pictured[0].predictions) == ["ENet distilled"]
    assert [s.split(" is not")[0] for s in left_out] == [
        "S3/Case00: prediction of Teacher (UNet++), zero-shot", "S3/Case00: prediction of ENet alone"
    ]  # fmt: skip


def test_relative_paths_belong_to_the_folder(tmp_path):
    results = record(tmp_path)
    for files in results["images"].values():
        files.update({k: str(Path(v).relative_to(tmp_path)) for k, v in files.items()})
    assert len(contour_rows(results, tmp_path)[0]) == 2


def test_a_trailing_axis_of_length_one_is_dropped(tmp_path):
    results = record()
    add_files(results, tmp_path, cases=1)
    save(Path(results["images"]["S3/Case00"]["label"]), blob(8, 20)[..., None])
    assert contour_rows(results, ".")[0][0].reference.any()
