# SPDX-License-Identifier: Apache-2.0
"""Evaluate a bundle on one part of its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from akd_monai.bundle._checked import CheckedWorkflow
from akd_monai.bundle._evaluation import check_weights, evaluation_configs, find_evaluator, find_evaluator_run
from akd_monai.bundle._failures import bundle_failures
from akd_monai.bundle._scripts import bundle_on_path
from akd_monai.bundle.publish import publish_results
from akd_monai.errors import InputError, check_choice
from akd_monai.handlers._evaluated_run import log_evaluation

__all__ = ["Evaluation", "Part", "evaluate_bundle"]

Part = Literal["test", "validation", "training"]

_DEFAULT: Part = "test"
_TABLE = "per_case.csv"


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate_bundle` measured; ``str`` of it is ready to be shown.

    Attributes:
        metrics: means over the cases, by name.
        table: CSV file with one row for each case and class, as this project's bundles write it; of another bundle the
            first table that its handlers wrote, or None.
        readme: the README into which the means were written, or None.
        runs: how MLflow shows the run of the training to which the means were logged, or None.
    """

    metrics: dict[str, float]
    table: Path | None
    readme: Path | None = None
    runs: str | None = None

    def __str__(self) -> str:
        """Return the means, where table and README are, and how the runs are shown."""
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items())
        lines = [f"Evaluated: {means or 'no metric is a number'}"]
        if self.table is not None:
            lines.append(f"Cases: {self.table}")
        if self.readme is not None:
            lines.append(f"Published: {self.readme}")
        if self.runs is not None:
            lines.append(f"Runs: {self.runs}")
        return "\n".join(lines)


def evaluate_bundle(
    bundle: str | Path,
    *,
    part: Part = _DEFAULT,
    publish: str | None = None,
    trained_by: str | None = None,
    track: bool = True,
    **override: Any,
) -> Evaluation:
    """Evaluate a bundle case by case, as its ``configs/evaluate.json``, or ``.yaml``, says.

    The bundle is trusted: its configs and code are run.

    If the training of the weights was tracked in MLflow by :class:`~akd_monai.handlers.MLflowTracker`, the means, the table
    of cases and pictures of the best, the median and the worst case are logged to its run; if it was not, nothing is.

    Args:
        bundle: folder of the bundle, with weights.
        part: part of the data: test, validation or training. A bundle whose configs know no parts is evaluated on the data
            that they name, and takes no other part than the default.
        publish: what it is evaluated on, in words; the means are then written into the bundle's README and metadata. Only
            for bundles that write ``per_case.csv``.
        trained_by: the command that trained the weights, shown beside published results.
        track: whether the run in MLflow of a tracked training is told.
        override: any id of the configs, such as ``dataset_dir`` and ``sites``.

    Raises:
        InputError: for a mistake in the bundle or the data, among them missing weights.
        UnknownNameError: for an id that does not exist.

    Example:
        >>> evaluate_bundle("bundles/prostate_mri_enet", part="trial")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: part must be one of 'test', 'validation', 'training', got 'trial'.
    """
    check_choice("part", part, get_args(Part))
    check_choice("track", track, (True, False))
    workflow = _EvaluationWorkflow(bundle, part, override)
    workflow.initialize()
    workflow.run()
    table = workflow.table()
    readme = None
    if publish is not None:
        if table is None or table.name != _TABLE:
            raise InputError(
                f"bundle {str(bundle)!r} writes no {_TABLE}, so its results cannot be published",
                remedy="leave out publish",
            )
        readme = publish_results(bundle, table, data=publish, trained_by=trained_by)
    return Evaluation(workflow.means(), table, readme, workflow.log() if track else None)


class _EvaluationWorkflow(CheckedWorkflow):
    def __init__(self, bundle: str | Path, part: str, override: dict[str, Any]) -> None:
        super().__init__(bundle, evaluation_configs(bundle))
        has_parts = "part" in self.parser
        if not has_parts and part != _DEFAULT:
            raise InputError(
                f"the configs of bundle {str(bundle)!r} know no parts of the data", remedy="leave out part", code="part"
            )
        self._override({"part": part} if has_parts else {}, override)
        self._evaluator = find_evaluator(self.parser)
        self.run_id = find_evaluator_run(self.parser, self._evaluator)

    def initialize(self) -> Any:
        with bundle_on_path(self._bundle_dir), bundle_failures(self._bundle_dir):
            result = super().initialize()
            check_weights(self.parser, self._evaluator)
            return result

    def run(self) -> Any:
        with bundle_on_path(self._bundle_dir), bundle_failures(self._bundle_dir):
            return super().run()

    def means(self) -> dict[str, float]:
        metrics = self.parser.get_parsed_content(self._evaluator).state.metrics
        return {name: value for name, value in metrics.items() if isinstance(value, float)}

    def log(self) -> str | None:
        """Log the evaluation to the run of the training, and return how MLflow shows it; None if nothing was logged."""
        folder = self._output_dir()
        return None if folder is None else log_evaluation(self.parser.get_parsed_content(self._evaluator), folder)

    def _output_dir(self) -> Path | None:
        if "output_dir" not in self.parser:
            return None
        return Path(str(self.parser.get_parsed_content("output_dir")))

    def table(self) -> Path | None:
        """Return the table with a row for each case, None if the handlers have written none."""
        folder = self._output_dir()
        if folder is None:
            return None
        found = [folder / _TABLE, *sorted(folder.glob("*_raw.csv"))]
        return next((path for path in found if path.is_file()), None)
