# SPDX-License-Identifier: Apache-2.0
"""The command of each kind of cell, in the words of ``python -m monai.bundle run``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.experiments._plan.cell import Cell, Kind, Row
from akd_monai.experiments._plan.layers import Layer, layer_of
from akd_monai.experiments._plan.matrix import Matrix, Network
from akd_monai.experiments._plan.methods import TERMS, Method

__all__ = ["Commands", "bundle_settings", "with_shape", "written_value"]

_RUN = ("-m", "monai.bundle", "run", "--config_file")
# torchrun, as a module of the same interpreter
_LAUNCH = ("-m", "torch.distributed.run", "--standalone")
_SEVERAL = "configs/multi_gpu_train.json"


def bundle_settings(matrix: Matrix, network: Network) -> dict[str, Any]:
    """Return the config ids that the experiment changes in the bundle of a network."""
    return with_shape({**matrix.settings, **network.settings})


def with_shape(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the sides of slices also where a bundle's metadata say them."""
    size = settings.get("spatial_size")
    if size is None:
        return dict(settings)
    places = (f"network_data_format#{name}#spatial_shape" for name in ("inputs#image", "outputs#pred"))
    return {**settings, **dict.fromkeys(places, size)}


class Commands:
    """Makes cells below ``folder``: each starts in a bundle, ``bundles/NAME``, and writes to ``cells/NAME``.

    Paths between the two are relative, so that the folder can be moved.

    Args:
        matrix: what the experiment's file says.
        folder: of the experiment.
    """

    def __init__(self, matrix: Matrix, folder: Path) -> None:
        self._matrix = matrix
        self._folder = folder

    def train(
        self, row: Row, network: Network, *, initial: Cell | None = None, method: Method | None = None, **values: Any
    ) -> Cell:
        """Return the cell that trains a network with the task's loss alone, or by a baseline of generalisation.

        Args:
            row: what the cell is.
            network: what learns.
            initial: the training whose weights it starts from.
            method: the baseline.
            values: further config ids.
        """
        given = {**({} if method is None else method.settings), **values, **self._started(initial, row, network)}
        needs = () if initial is None else (initial.name,)
        return self._cell(row, "train", network, given, needs, None if method is None else layer_of(method))

    def distill(
        self,
        row: Row,
        network: Network,
        teaching: Sequence[Cell],
        method: Method,
        *,
        initial: Cell | None = None,
        **values: Any,
    ) -> Cell:
        """Return the cell that trains a student by distillation.

        Args:
            row: what the cell is.
            network: the student.
            teaching: the training of its teacher, or several.
            method: how it is distilled.
            initial: the training whose weights it starts from.
            values: further config ids.
        """
        layer = layer_of(method)
        # a recipe says which terms have a weight
        off = {} if layer is not None else {f"lambda_{term}": 0.0 for term in TERMS if term not in method.terms}
        given = {
            "teacher_bundle": _one_or_list([f"../teacher-{cell.row.network}" for cell in teaching]),
            "teacher_weights": _one_or_list([self._weights(cell, row, network) for cell in teaching]),
            **self._cache(row, network),
            **off,
            **self._started(initial, row, network),
            **method.settings,
            **values,
        }
        starts = [] if initial is None else [initial]
        return self._cell(row, "distill", network, given, [cell.name for cell in (*teaching, *starts)], layer)

    def test(self, row: Row, trained: Cell, network: Network, **values: Any) -> Cell:
        """Return the cell that evaluates what another cell has trained."""
        given = {"ckpt_path": self._weights(trained, row, network), **values}
        return self._cell(row, "test", network, given, (trained.name,))

    def _cell(
        self,
        row: Row,
        kind: Kind,
        network: Network,
        values: Mapping[str, Any],
        needs: Sequence[str],
        layer: Layer | None = None,
    ) -> Cell:
        bundle = self._bundle(row, network)
        name = f"{'test' if kind == 'test' else 'train'}/{row.name()}"
        folder = self._folder / "cells" / name
        place = os.path.relpath(folder, bundle)
        common = {
            "dataset_dir": str(self._matrix.dataset_dir),
            "ckpt_dir": f"{place}/models",
            "output_dir": f"{place}/eval",
            "seed": row.seed,
            # one for all seeds, so that they are compared on the same cases
            "split_seed": self._matrix.settings.get("split_seed", 0),
        }
        settings = {**bundle_settings(self._matrix, network), **({} if layer is None else layer.content)}
        flags = [f"--{key}={written_value(value)}" for key, value in {**common, **values}.items()]
        return Cell(
            name=name,
            kind=kind,
            row=row,
            command=(*self._launched(kind, layer), *flags),
            start_in=str(bundle),
            folder=str(folder),
            result=str(folder / "result.json"),
            needs=tuple(needs),
            settings=json.dumps(settings, sort_keys=True),
        )

    def _launched(self, kind: Kind, layer: Layer | None) -> tuple[str, ...]:
        """Return how the configs of a kind of cell are run; what learns may do so in several processes."""
        several = self._matrix.gpus_per_cell if kind != "test" else 1
        configs = ["configs/train.json"]
        if several > 1:
            configs.append(_SEVERAL)
        if kind != "train":
            configs.append("configs/distill.json" if kind == "distill" else "configs/evaluate.json")
        if layer is not None:
            configs.append(layer.path)
        launch = (*_LAUNCH, f"--nproc_per_node={several}") if several > 1 else ()
        return (*launch, *_RUN, _config_files(configs))

    def _cache(self, row: Row, network: Network) -> dict[str, str]:
        """Return where all students find what a teacher has computed for another; its weights name its folder there."""
        if not self._matrix.teacher_cache:
            return {}
        return {"teacher_cache": os.path.relpath(self._folder / "cache", self._bundle(row, network))}

    def _started(self, initial: Cell | None, row: Row, network: Network) -> dict[str, Any]:
        """Return the weights that a network starts from, and what is changed for it."""
        if initial is None:
            return {}
        return {"initial_weights": self._weights(initial, row, network), **network.adapt}

    def _bundle(self, row: Row, network: Network) -> Path:
        return self._folder / "bundles" / f"{row.role}-{network.name}"

    def _weights(self, trained: Cell, row: Row, network: Network) -> str:
        return os.path.relpath(Path(trained.folder) / "models" / "model.pt", self._bundle(row, network))


def _config_files(names: Sequence[str]) -> str:
    """Write one config file, or a list of them, as ``python -m monai.bundle`` reads it."""
    listed = ",".join(f"'{name}'" for name in names)
    return names[0] if len(names) == 1 else f"[{listed}]"


def _one_or_list(values: list[str]) -> str | list[str]:
    """Return the only value, or all of them."""
    return values[0] if len(values) == 1 else values


def written_value(value: Any) -> str:
    """Write a value as ``python -m monai.bundle`` reads it.

    Example:
        >>> written_value(["HK"]), written_value(None), written_value(0.5), written_value("cosine")
        ("['HK']", '$None', '0.5', 'cosine')
    """
    if value is None:
        return "$None"
    return value if isinstance(value, str) else repr(value)
