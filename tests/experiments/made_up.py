# SPDX-License-Identifier: Apache-2.0
"""A made-up record of results for the tests of the report: figures, masks and images are invented."""

from __future__ import annotations

import nibabel as nib
import numpy as np

SHAPE, SPACING = (32, 24, 6), (0.5, 0.75, 3.0)
LABELS = {"teacher": "Teacher (UNet++), zero-shot", "baseline": "ENet alone", "distilled": "ENet distilled"}


def blob(low, high):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[low:high, 6:18, 1:5] = 1
    return mask


def save(path, voxels, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([*SPACING, 1.0]) if affine is None else affine), path)
    return str(path)


def rows(dice, site="S3"):
    return [
        {"case_id": f"Case{i:02d}", "site": site, "class": "gland", "dice": d, "hd95_mm": 10 - 8 * d,
         "asd_mm": 3 - 2 * d, "reference_ml": 40.0 + i, "predicted_ml": 40.0}
        for i, d in enumerate(dice)
    ]  # fmt: skip


def record(folder=None, gain=0.05, cases=8):
    """Return results in which the distilled student is better by about ``gain`` in each case."""
    alone = [0.60 + 0.03 * i for i in range(cases)]
    dice = {
        "teacher": [0.5 + 0.01 * i for i in range(cases)],
        "baseline": alone,
        "distilled": [d + gain + 0.002 * (i % 3 - 1) for i, d in enumerate(alone)],
    }
    systems = [
        {
            "key": role,
            "label": LABELS[role],
            "role": role,
            "per_case": rows(values),
            "profile": {
                "parameters": 353545,
                "gflops": 2.112,
                "input_shape": [1, 1, 384, 384],
                "checkpoint_bytes": 1470000,
            },
            "history": [
                {"epoch": e, "loss/total": 1 / e, "loss/task": 0.9 / e, "val_mean_dice": 1 - 1 / e} for e in (1, 2, 3)
            ],
        }
        for role, values in dice.items()
    ]
    results = {
        "title": "Made-up results",
        "data": {"kind": "synthetic", "description": "Invented.", "splits": {"S3": {"train": 6, "test": cases}}},
        "protocol": "cross_site",
        "target": "S3",
        "sources": ["S1", "S2"],
        "seed": 7,
        "settings": {"epochs": 3, "features": [8, 16], "amp": False},
        "systems": systems,
        "commands": ["python -m monai.bundle run --config_file \"['a.json','b.json']\" && echo <done>"],
        "reduced": ["3 epochs instead of 100"],
        "warnings": ["Validation cases are training cases."],
        "mlflow": {"tracking_uri": "sqlite:///mlruns.db", "experiment": "demo"},
    }  # fmt: skip
    if folder is not None:
        add_files(results, folder)
    return results


def add_files(results, folder, cases=2):
    """Give the first cases images, references and a prediction of each system; the first student predicts nothing."""
    random = np.random.default_rng(0)
    results["images"] = {}
    for i in range(cases):
        image = random.normal(100, 20, SHAPE).astype(np.float32)
        results["images"][f"S3/Case{i:02d}"] = {
            "image": save(folder / "data" / f"Case{i:02d}.nii.gz", image),
            "label": save(folder / "data" / f"Case{i:02d}_segmentation.nii.gz", blob(8, 20)),
        }
        for k, system in enumerate(results["systems"]):
            mask = blob(0, 0) if system["role"] == "baseline" else blob(9 + k, 20)
            file = save(folder / system["key"] / f"Case{i:02d}_pred.nii.gz", mask)
            system.setdefault("predictions", {})[f"S3/Case{i:02d}"] = file
