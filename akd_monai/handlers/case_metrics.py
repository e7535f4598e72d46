# SPDX-License-Identifier: Apache-2.0
"""A table of metrics with one row a case and class, beside the averages that an evaluator reports."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.data import MetaTensor, decollate_batch
from monai.engines.utils import IterationEvents

from akd_monai.errors import InputError
from akd_monai.files import atomic_write
from akd_monai.handlers.mask_metrics import METRICS, check_volumes, foreground_masks, mask_metrics
from akd_monai.names import case_name

COLUMNS = ("case_id", "site", "class", *METRICS)
AVERAGED = ("dice", "hd95_mm", "asd_mm")
# Two grids count as one if no corner lies further apart than this.
GRID_TOLERANCE_MM = 0.1
_KEY = ["site", "case_id", "class"]

logger = logging.getLogger(__name__)


class CaseMetrics:
    """Judge every case of an evaluation in 3D on its own grid, and write the table as a CSV file.

    Reads the decollated, post-processed output of an evaluator: each item holds a prediction and a label, as whole
    numbers ``[1, H, W, D]`` or as zeros and ones ``[C, H, W, D]`` with the background first. The voxel size comes from
    their affine. The metrics, and what counts as undefined, are those of
    :func:`~akd_monai.handlers.mask_metrics.mask_metrics`.

    When the epoch ends, ``engine.state.metrics`` gets ``dice_mean``, ``hd95_mm_mean`` and ``asd_mm_mean`` over the
    defined values (NaN if there is none) and ``undefined_dice``, ``undefined_hd95`` and ``undefined_asd``, how many
    were left out. List this handler before those that log metrics.

    A case is named by ``case_id`` of its datalist item, else by the file name of its image; its ``site`` is that of the
    item, else empty.

    Args:
        output_dir: folder of the table; without one nothing is written.
        pred_key: key of the prediction.
        label_key: key of the reference.
        filename: name of the table.
        class_names: names of the classes without the background. Default: their numbers, counted from the channels, or,
            if neither map has a channel for each class, from the largest class number in the case.

    Example:
        >>> from monai.data import list_data_collate
        >>> from monai.engines import SupervisedEvaluator
        >>> image, label = torch.tensor([[[[0.0, 5.0]]]]), torch.tensor([[[[0, 1]]]])
        >>> item = {"image": MetaTensor(image), "label": MetaTensor(label), "case_id": "a"}
        >>> evaluator = SupervisedEvaluator(
        ...     device=torch.device("cpu"), val_data_loader=[list_data_collate([item])], network=torch.nn.Identity(),
        ...     postprocessing=lambda d: {**d, "pred": (d["pred"] > 1).float()}, val_handlers=[CaseMetrics()])
        >>> evaluator.run()
        >>> evaluator.state.metrics["dice_mean"]
        1.0

    Source: arXiv 2404.02738, section 4 (Dice a case); distances as in MONAI's ``compute_hausdorff_distance`` and
    ``compute_average_surface_distance``.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        pred_key: str = "pred",
        label_key: str = "label",
        filename: str = "per_case.csv",
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.path = None if output_dir is None else Path(output_dir) / filename
        self.pred_key, self.label_key = pred_key, label_key
        self.class_names = None if class_names is None else list(class_names)
        self._rows: list[dict[str, Any]] = []
        self._table: pd.DataFrame | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, an evaluator of MONAI that decollates its batches.

        Raises:
            InputError: while it runs, for a case whose prediction and label cannot be compared.
            RuntimeError: while it runs, for a prediction with NaN or infinite values.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        # Before postprocessing: the arg-max of NaN is a class number like any other.
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._check_finite)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._judge)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._publish)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def table(self) -> pd.DataFrame:
        """Return the rows of the last epoch over all processes, sorted by site, case and class."""
        rows = self._rows
        if _distributed():
            parts: list[list[dict[str, Any]]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(parts, self._rows)
            rows = [row for part in parts for row in part]
        # A distributed sampler repeats cases to give every process as many.
        frame = pd.DataFrame(rows, columns=list(COLUMNS)).drop_duplicates(_KEY)
        return frame.sort_values(_KEY, kind="stable", ignore_index=True)

    def _clear(self, engine: Engine) -> None:
        self._rows, self._table = [], None

    def _check_finite(self, engine: Engine) -> None:
        pred = engine.state.output.get(self.pred_key) if isinstance(engine.state.output, dict) else None
        if not isinstance(pred, torch.Tensor) or bool(torch.isfinite(pred).all()):
            return
        items = decollate_batch(engine.state.batch)
        named = [case_name(item, f"case {i + 1} of the batch") for i, item in enumerate(items) if not _finite(pred[i])]
        raise RuntimeError(_not_finite(", ".join(repr(name) for name in named)))

    def _judge(self, engine: Engine) -> None:
        output = engine.state.output
        if not isinstance(output, list) or not isinstance(engine.state.batch, list):
            raise InputError("CaseMetrics reads a list of cases, got one batch; set decollate=True on the evaluator.")
        for item, result in zip(engine.state.batch, output, strict=True):
            # Processes count on their own, and equal names would be taken for one case.
            rank = f"_rank{dist.get_rank()}" if _distributed() else ""
            fallback = f"case_{len({(r['site'], r['case_id']) for r in self._rows}) + 1:04d}{rank}"
            name, site = case_name({**item, **result}, fallback), str(item.get("site", ""))
            if any(row["case_id"] == name and row["site"] == site for row in self._rows):
                raise InputError(
                    f"case {name!r} of site {site!r} came twice; give every volume its own case_id in the datalist, "
                    "and evaluate volumes, not their slices."
                )
            self._rows += [{"case_id": name, "site": site, **row} for row in self._case_rows(result, name)]

    def _case_rows(self, result: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        missing = [key for key in (self.pred_key, self.label_key) if not isinstance(result.get(key), torch.Tensor)]
        if missing:
            raise InputError(f"case {name!r}: the evaluator gave no tensor {missing[0]!r}, only {sorted(result)}.")
        pred, label = result[self.pred_key], result[self.label_key]
        if not _finite(pred):
            raise RuntimeError(_not_finite(repr(name)))
        try:
            spacing = _voxel_size(pred, label)
            names = self.class_names or _class_numbers(pred, label)
            predicted, reference = (foreground_masks(m, len(names)) for m in (pred, label))
            pairs = zip(names, predicted, reference, strict=True)
            return [{"class": c, **mask_metrics(p, r, spacing)} for c, p, r in pairs]
        except InputError as error:
            raise InputError(f"case {name!r}: {error}") from error

    def _publish(self, engine: Engine) -> None:
        self._table = table = self.table()
        for metric in AVERAGED:
            # pandas leaves NaN out of a mean, and gives NaN for a mean of nothing.
            engine.state.metrics[f"{metric}_mean"] = float(table[metric].astype(float).mean())
            engine.state.metrics[f"undefined_{metric.removesuffix('_mm')}"] = int(table[metric].isna().sum())

    def _write(self, engine: Engine) -> None:
        if self.path is None or (_distributed() and dist.get_rank() != 0):
            return
        if self._table is None:
            logger.warning("the evaluation was stopped early: %s is not written, for it would lack cases", self.path)
            return
        atomic_write(self.path, self._table.to_csv(index=False, float_format="%.6f", na_rep="nan"))
        logger.info("metrics of %d rows are in %s", len(self._table), self.path)


def _finite(volume: torch.Tensor) -> bool:
    return bool(torch.isfinite(volume).all())


def _not_finite(cases: str) -> str:
    return f"the prediction holds NaN or infinite values for {cases}; look for NaN in the weights or in the image."


def _class_numbers(pred: torch.Tensor, label: torch.Tensor) -> list[str]:
    channels = {int(m.shape[0]) for m in (pred, label)} - {1}
    if len(channels) > 1:
        raise InputError(
            f"prediction and label have {pred.shape[0]} and {label.shape[0]} channels; give both one channel a class."
        )
    highest = channels.pop() - 1 if channels else max(int(pred.max()), int(label.max()), 1)
    return [str(k) for k in range(1, highest + 1)]


def _voxel_size(pred: torch.Tensor, label: torch.Tensor) -> list[float]:
    """Return the spacing along each axis in mm, once prediction and label are known to lie on one grid."""
    check_volumes(pred[0], label[0])
    placed = [m for m in (label, pred) if isinstance(m, MetaTensor)]
    if not placed:
        raise InputError("neither prediction nor label has an affine to give lengths in mm; keep MONAI's meta data.")
    if len(placed) == 2:
        corners = torch.cartesian_prod(*(torch.tensor([0.0, n - 1.0], dtype=torch.float64) for n in label.shape[1:]))
        affines = [m.affine.double().cpu() for m in placed]
        places = [corners @ affine[:3, :3].T + affine[:3, 3] for affine in affines]
        apart = float((places[0] - places[1]).norm(dim=1).max())
        if not apart <= GRID_TOLERANCE_MM:
            raise InputError(
                f"prediction and label lie {apart:.2f} mm apart by their affines, allowed are {GRID_TOLERANCE_MM} mm; "
                "bring both to one grid in postprocessing (Invertd on both keys, or on neither)."
            )
    return [float(length) for length in placed[0].pixdim]


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
