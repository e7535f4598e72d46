# SPDX-License-Identifier: Apache-2.0
"""A table of metrics with one row a case and class, beside the averages that an evaluator reports."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.data import decollate_batch
from monai.engines import IterationEvents

from akd_monai.errors import InputError, NonFiniteError
from akd_monai.files import atomic_write
from akd_monai.handlers._case_rows import calibration_rows, case_rows
from akd_monai.handlers._events import is_first_rank
from akd_monai.handlers._mask_metrics import METRICS
from akd_monai.names import case_name

__all__ = ["CaseMetrics"]

_COLUMNS = ("case_id", "site", "class", *METRICS)
_AVERAGED = ("dice", "hd95_mm", "asd_mm")
_IDENTITY = ["site", "case_id", "class"]
_CALIBRATION = "calibration.csv"

logger = logging.getLogger(__name__)


class CaseMetrics:
    r"""Evaluate every case in 3D on its own grid, and write the table as a CSV file.

    Reads the decollated, post-processed output of an evaluator: each item holds a prediction and a label, as integers
    ``[1, H, W, D]`` or as zeros and ones ``[C, H, W, D]`` with the background first. The voxel size comes from their
    affine. MONAI's ``MetricsSaver`` knows neither that nor undefined values. The columns are

    * ``dice``: :math:`2|P \cap R| / (|P| + |R|)`, 0 to 1.
    * ``hd95_mm``: the larger of the two directed 95th percentiles of surface distance, in mm.
    * ``asd_mm``: the mean over the surface voxels of both masks of the distance to the other surface, in mm.
    * ``reference_ml``, ``predicted_ml``: volumes in millilitres.
    * ``ece``: the expected calibration error of the class over all voxels of the case,
      :math:`\sum_b \frac{n_b}{n} |\bar p_b - f_b|` over 15 bins of its probability, 0 to 1, with the number of voxels
      :math:`n_b`, the mean probability :math:`\bar p_b` and the fraction inside the reference :math:`f_b` of each bin.
      Most voxels are background that no network doubts, so compare it within one data set only. This column is there
      if items hold the probabilities, and the bins of every case are then in ``calibration.csv``.

    What is not defined is NaN: the Dice of two empty masks, and both distances if either mask is empty. A mask
    predicted where there is none, or none where there is one, has Dice 0.

    When the epoch ends, ``engine.state.metrics`` gets ``dice_mean``, ``hd95_mm_mean`` and ``asd_mm_mean`` over the
    defined values (NaN if there is none) and ``undefined_dice``, ``undefined_hd95`` and ``undefined_asd``, the numbers
    of undefined values; ``ece_mean`` where there are probabilities. List this handler before those that log metrics.

    A case is named by ``case_id`` of its datalist item, else by folder and name of its image, such as
    ``RUNMC/Case00``; its ``site`` is that of the item, else empty.

    Args:
        output_dir: folder of the table; without one nothing is written.
        pred_key: name of the prediction in an item.
        label_key: name of the reference in an item.
        filename: name of the table.
        class_names: names of the classes without the background. Default: their numbers, counted from the channels, or,
            if neither map has a channel for each class, from the largest class number in the case.

    Example:
        >>> from monai.data import MetaTensor, list_data_collate
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
    ``compute_average_surface_distance``; calibration as in Guo et al., ICML 2017, equation 3, for each class against
    the rest.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        pred_key: str = "pred",
        label_key: str = "label",
        filename: str = "per_case.csv",
        class_names: Sequence[str] | None = None,
        probability_key: str = "probability",
    ) -> None:
        self.path = None if output_dir is None else Path(output_dir) / filename
        self.pred_key = pred_key
        self.label_key = label_key
        self.class_names = None if class_names is None else list(class_names)
        self.probability_key = probability_key
        self._rows: list[dict[str, Any]] = []
        self._bins: list[dict[str, Any]] = []
        self._table: pd.DataFrame | None = None
        self._calibration: pd.DataFrame | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, an evaluator of MONAI that decollates its batches.

        Raises:
            InputError: while it runs, for a case whose prediction and label cannot be compared.
            NonFiniteError: while it runs, for a prediction with NaN or infinite values.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        # Before postprocessing: the arg-max of NaN is a class number like any other.
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._check_finite)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._evaluate)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._publish)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def table(self) -> pd.DataFrame:
        """Return the rows of the last epoch over all processes, sorted by site, case and class."""
        rows = _gathered(self._rows)
        columns = [*_COLUMNS, "ece"] if any("ece" in row for row in rows) else list(_COLUMNS)
        return _sorted(pd.DataFrame(rows, columns=columns), _IDENTITY)

    def finished_table(self) -> pd.DataFrame | None:
        """Return the rows of the last epoch, which this process has gathered; None if the epoch did not end."""
        return None if self._table is None else self._table.copy()

    def _clear(self, _: Engine) -> None:
        self._rows = []
        self._bins = []
        self._table = None
        self._calibration = None

    def _check_finite(self, engine: Engine) -> None:
        output = engine.state.output
        pred = output.get(self.pred_key) if isinstance(output, dict) else None
        if not isinstance(pred, torch.Tensor) or _finite(pred):
            return
        broken = []
        for number, (item, result) in enumerate(zip(decollate_batch(engine.state.batch), pred, strict=False), start=1):
            if not _finite(result):
                broken.append(case_name(item, f"case {number} of the batch"))
        raise _not_finite(broken)

    def _evaluate(self, engine: Engine) -> None:
        output = engine.state.output
        if not isinstance(output, list) or not isinstance(engine.state.batch, list):
            raise InputError("CaseMetrics reads a list of cases, got one batch; set decollate=True on the evaluator.")
        for item, result in zip(engine.state.batch, output, strict=True):
            name = case_name({**item, **result}, self._counted_name())
            site = str(item.get("site", ""))
            if any(row["case_id"] == name and row["site"] == site for row in self._rows):
                raise InputError(
                    f"case {name!r} of site {site!r} came twice; give every volume its own case_id in the datalist, "
                    "and evaluate volumes, not their slices."
                )
            rows, bins = self._rows_of(result, name)
            self._rows += [{"case_id": name, "site": site, **row} for row in rows]
            self._bins += [{"case_id": name, "site": site, **row} for row in bins]

    def _counted_name(self) -> str:
        cases = {(row["site"], row["case_id"]) for row in self._rows}
        # Processes count on their own, and equal names would be taken for one case.
        rank = f"_rank{idist.get_rank()}" if idist.get_world_size() > 1 else ""
        return f"case_{len(cases) + 1:04d}{rank}"

    def _rows_of(self, result: Mapping[str, Any], name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the rows of both tables for one case."""
        for key in (self.pred_key, self.label_key):
            if not isinstance(result.get(key), torch.Tensor):
                raise InputError(f"case {name!r}: the evaluator gave no tensor {key!r}, only {sorted(result)}.")
        if not _finite(result[self.pred_key]):
            raise _not_finite([name])
        try:
            rows = case_rows(result[self.pred_key], result[self.label_key], self.class_names)
            return rows, self._calibrate(result, rows)
        except InputError as error:
            raise InputError(f"case {name!r}: {error}") from error

    def _calibrate(self, result: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Add the calibration error to the rows of a case, and return its bins, if its probabilities are there."""
        probability = result.get(self.probability_key)
        if not isinstance(probability, torch.Tensor):
            return []
        bins: list[dict[str, Any]] = []
        found = calibration_rows(probability, result[self.label_key], [row["class"] for row in rows])
        for row, (name, one) in zip(rows, found, strict=True):
            row["ece"] = one.error()
            bins += [{"class": name, **entry} for entry in one.rows()]
        return bins

    def _publish(self, engine: Engine) -> None:
        self._table = table = self.table()
        for metric in _AVERAGED:
            # pandas leaves NaN out of a mean, and gives NaN for a mean of nothing.
            engine.state.metrics[f"{metric}_mean"] = float(table[metric].astype(float).mean())
            engine.state.metrics[f"undefined_{metric.removesuffix('_mm')}"] = int(table[metric].isna().sum())
        if "ece" in table:
            engine.state.metrics["ece_mean"] = float(table["ece"].mean())
            # every process gathers, or none
            self._calibration = _sorted(pd.DataFrame(_gathered(self._bins)), [*_IDENTITY, "bin"])

    def _write(self, engine: Engine) -> None:
        if self.path is None or not is_first_rank(engine):
            return
        if self._table is None:
            logger.warning("the evaluation was stopped early: %s is not written, for it would lack cases", self.path)
            return
        if self._calibration is not None:
            atomic_write(self.path.with_name(_CALIBRATION), self._calibration.to_csv(index=False, float_format="%.6f"))
        atomic_write(self.path, self._table.to_csv(index=False, float_format="%.6f", na_rep="nan"))
        logger.info("metrics of %d rows are in %s", len(self._table), self.path)


def _gathered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of every process."""
    every: list[dict[str, Any]] = []
    for part in cast("list[list[dict[str, Any]]]", idist.all_gather(rows)):
        every += part
    return every


def _sorted(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    # A distributed sampler repeats cases to give every process as many.
    return frame.drop_duplicates(columns).sort_values(columns, kind="stable", ignore_index=True)


def _finite(volume: torch.Tensor) -> bool:
    return bool(torch.isfinite(volume).all())


def _not_finite(names: Sequence[str]) -> NonFiniteError:
    cases = ", ".join(repr(name) for name in names)
    return NonFiniteError(
        f"the prediction holds NaN or infinite values for {cases}; check the weights and the image for NaN."
    )
