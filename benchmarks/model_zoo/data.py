# SPDX-License-Identifier: Apache-2.0
"""Made-up images and labels in the forms that the Model Zoo's bundles expect; each returns the ids to be set."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.model_zoo.bundles import ZooBundle

__all__ = ["write_architecture", "write_data"]

# the zoo's configs keep the last nine or ten for validation
_CASES = 11
_HOUNSFIELD = 100.0


def write_data(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write the data of a bundle and return the ids by which it finds them.

    Args:
        bundle: the form and size of its data.
        folder: where they are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _FORMS[bundle.data](bundle, folder)


def _volumes(bundle: ZooBundle, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of every class with noise, drawn with a fixed seed."""
    draw = np.random.default_rng(0)
    values = bundle.options.get("label_values", range(bundle.classes))
    shape = (bundle.side + bundle.options.get("margin", 4),) * 3
    for _ in range(count):
        blocks = np.kron(draw.choice(values, size=(6, 6, 6)), np.ones([-(-side // 6) for side in shape]))
        label = blocks[tuple(slice(side) for side in shape)].astype(np.uint8)
        image = label * (_HOUNSFIELD / bundle.classes) + draw.normal(0, 20, shape)
        yield image.astype(np.float32), label


def _save(array: np.ndarray, path: Path, bundle: ZooBundle) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*bundle.spacing, 1.0])), path)
    return str(path)


def folders(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write two folders of volumes, images and labels."""
    images = folder / bundle.options.get("images", "imagesTr")
    labels = folder / bundle.options.get("labels", "labelsTr")
    for number, (image, label) in enumerate(_volumes(bundle, _CASES)):
        _save(image, images / f"case{number:02}.nii.gz", bundle)
        _save(label, labels / f"case{number:02}.nii.gz", bundle)
    return {"dataset_dir": str(folder)}


def files(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write images and labels into one folder."""
    for number, (image, label) in enumerate(_volumes(bundle, 5)):
        _save(image[:32, :32, :32], folder / f"img{number:02}.nii.gz", bundle)
        _save(label[:32, :32, :32], folder / f"lbl{number:02}.nii.gz", bundle)
    return {"dataset_dir": str(folder)}


def tables(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write volumes and the CSV tables that name them."""
    for number, (image, label) in enumerate(_volumes(bundle, 2)):
        name = ("train", "valid")[number]
        _save(image, folder / f"{name}_t2.nii.gz", bundle)
        _save(label, folder / f"{name}_anatomy.nii.gz", bundle)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["t2", "t2_anatomy_reader1"])
            rows.writerow([f"{name}_t2.nii.gz", f"{name}_anatomy.nii.gz"])
    return {"dataset_dir": f"{folder}/"}


def _cases(bundle: ZooBundle, folder: Path, count: int) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    for number, (image, label) in enumerate(_volumes(bundle, count)):
        paths = [_save(image, folder / f"image{number}_{channel}.nii.gz", bundle) for channel in range(bundle.channels)]
        case = {"image": paths if len(paths) > 1 else paths[0]}
        cases.append({**case, "label": _save(label, folder / f"label{number}.nii.gz", bundle)})
    return cases


def lists(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write volumes and the JSON list of the Medical Segmentation Decathlon."""
    first, second = _cases(bundle, folder, 2)
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": [first], "validation": [second]}))
    return {"data_list_file_path": str(path), "dataset_dir": str(folder)}


def folds(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write volumes and a list with the fold of each."""
    cases = [{**case, "fold": 1 - number} for number, case in enumerate(_cases(bundle, folder, 2))]
    path = folder / "folds.json"
    path.write_text(json.dumps({"training": cases}))
    return {"data_list_file_path": str(path), "dataset_dir": str(folder)}


def phases(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write a folder for each patient with three phases and the merged label."""
    for number, (image, label) in enumerate(_volumes(bundle, 2)):
        for name in ("12", "22-", "32-"):
            _save(image, folder / f"patient{number}" / f"{name}.nii.gz", bundle)
        _save(label, folder / f"patient{number}" / "merged.nii.gz", bundle)
    return {"dataset_dir": str(folder)}


def pictures(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write JPEG pictures with their masks beside them."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        place = folder / part / "video"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(2):
            mask = np.zeros((bundle.side, bundle.side), np.uint8)
            mask[8:40, 8:40] = 255
            picture = draw.integers(0, 255, (bundle.side, bundle.side, 3), dtype=np.uint8)
            Image.fromarray(picture).save(place / f"frame{number}a.jpg")
            Image.fromarray(mask).save(place / f"frame{number}a_seg.jpg")
    return {"dataset_dir": str(folder)}


def nuclei(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write pictures of one nucleus among others, and the list that names them."""
    from PIL import Image

    draw = np.random.default_rng(0)
    cases = []
    for number in range(4):
        mask = np.zeros((bundle.side, bundle.side), np.uint8)
        mask[8:24, 8:24] = 1
        mask[40:56, 40:56] = 255
        image = folder / f"image{number}.png"
        label = folder / f"label{number}.png"
        Image.fromarray(draw.integers(0, 255, (bundle.side, bundle.side, 3), dtype=np.uint8)).save(image)
        Image.fromarray(mask).save(label)
        cases.append({"image": str(image), "label": str(label), "mask_value": 1, "centroid": [16, 16]})
    (folder / "dataset.json").write_text(json.dumps({"training": cases[:2], "validation": cases[2:]}))
    return {"dataset_dir": str(folder)}


def arrays(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write NumPy arrays of tiles with instances and their types."""
    draw = np.random.default_rng(0)
    for part in ("Train", "Test"):
        (folder / part).mkdir(exist_ok=True)
        for number in range(1):
            shape = (bundle.side + 14, bundle.side + 14)
            instances = np.zeros(shape, np.int32)
            instances[60:120, 60:120] = 1
            instances[140:200, 140:200] = 2
            tile = draw.integers(0, 255, (*shape, 3), dtype=np.uint8)
            for name, array in (
                ("image", tile),
                ("inst_map", instances[..., None]),
                ("type_map", instances[..., None]),
            ):
                np.save(folder / part / f"tile{number}_{name}.npy", array)
    return {"dataset_dir": str(folder)}


def npz(bundle: ZooBundle, folder: Path) -> dict[str, Any]:
    """Write one NumPy archive with all slices."""
    slices = [(image[:64, :64, 8], label[:64, :64, 8]) for image, label in _volumes(bundle, 10)]
    path = folder / "slices.npz"
    np.savez(path, images=np.stack([image for image, _ in slices]), segs=np.stack([label for _, label in slices]))
    return {"dataset_file": str(path)}


def write_architecture(path: Path) -> None:
    """Write an architecture for DiNTS in the form that its search saves: all convolutions, none between sizes."""
    import torch

    layers, depths = 12, 4
    edges = 3 * depths - 2
    paths = np.zeros((layers, edges), np.int64)
    # two edges lead to the neighbours of each depth
    paths[:, ::3] = 1
    content = {
        "node_a": np.ones((layers + 1, depths), np.int64),
        "arch_code_a": paths,
        "arch_code_c": np.full((layers, edges), 2, np.int64),
    }
    torch.save(content, path)


_FORMS: dict[str, Callable[[ZooBundle, Path], dict[str, Any]]] = {
    form.__name__: form for form in (folders, files, tables, lists, folds, phases, pictures, nuclei, arrays, npz)
}
