# SPDX-License-Identifier: Apache-2.0
"""What pages show beside the records of a made-up experiment: images, masks, histories, calibration, bundles."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from made_up_study import CASES, make_study

from akd_monai.bundle import write_bundle
from akd_monai.experiments._study.study import read_study

SHAPE, SPACING = (32, 24, 6), (0.5, 0.75, 3.0)
LEVEL = {"without": 0.62, "distilled": 0.68, "logits": 0.64, "pretrained": 0.70, "joint": 0.66}
SMALL = {"settings": {"spatial_size": [64, 64], "epochs": 3}}
TERMS = {"distilled": ("task", "logits", "gram", "affinity"), "logits": ("task", "logits")}


def noisy_dice(row, case):
    """Return a Dice that depends on the method and the case, with noise that row and case determine."""
    noise = np.random.default_rng(zlib.crc32(f"{row.name()}/{case}".encode())).normal(0, 0.015)
    return LEVEL.get(row.method, 0.55) + 0.02 * (case - CASES / 2) + noise


def mask(low, high):
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[low:high, 6:18, 1:5] = 1
    return voxels


def save(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([*SPACING, 1.0])), path)


def make_pages_study(folder, **changes):
    """Write a complete experiment of small networks with all that its pages show, and return its folder."""
    out = make_study(folder, noisy_dice, **{**SMALL, **changes})
    study = read_study(out)
    for number, image in enumerate(sorted((folder / "data").rglob("Case??.nii.gz"))):
        noise = np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.float32)
        save(image, noise + 80 * mask(8, 20))
        save(image.with_name(image.name.replace(".nii.gz", "_segmentation.nii.gz")), mask(8, 20))
    for cell in study.cells:
        output = Path(cell.folder) / "eval"
        if cell.kind == "test":
            add_outputs(output, study.evaluations[cell.row]["case_ids"])
        else:
            (output / "history.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in history(cell.row)))
    for role, networks in (("student", study.matrix.students), ("teacher", study.matrix.teachers)):
        for network in networks:
            write_bundle(network.bundle, out / "bundles" / f"{role}-{network.name}")
    return out


def add_outputs(output, case_ids):
    bins = []
    for place, case_id in enumerate(case_ids):
        site, name = case_id.split("/")
        save(output / site / f"{name}_pred.nii.gz", mask(9 + place % 3, 20))
        for b in range(15):
            p = (b + 0.5) / 15
            place_of_bin = {"case_id": case_id, "site": site, "class": "prostate", "bin": b}
            bins.append({**place_of_bin, "voxels": 100, "probability": p, "fraction": p**1.2})
    pd.DataFrame(bins).to_csv(output / "calibration.csv", index=False)


def history(row):
    entries = []
    for epoch in (1, 2, 3):
        terms = TERMS.get(row.method, ("task",))
        losses = {f"loss/{term}": (0.3 + 0.05 * row.seed) / (epoch + place) for place, term in enumerate(terms)}
        dice = LEVEL.get(row.method, 0.6) * (1 - (0.5 - 0.04 * row.seed) / epoch)
        total = sum(losses.values())
        entries.append({"epoch": epoch, "iteration": epoch, **losses, "loss/total": total, "val_mean_dice": dice})
    return entries
