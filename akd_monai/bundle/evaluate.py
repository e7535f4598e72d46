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
    """

    metrics: dict[str, float]
    table: Path | None
    readme: Path | None = None

    def __str__(self) -> str:
        """Return the means, and where table and README are."""
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items())
        lines = [f"Evaluated: {means or 'no metric is a number'}"]
        if self.table is not None:
            lines.append(f"Cases: {self.table}")
        if self.readme is not None:
            lines.append(f"Published: {self.readme}")
        return "\n".join(lines)


def evaluate_bundle(
    bundle: str | Path,
    *,
    part: Part = _DEFAULT,
    publish: str | None = None,
    trained_by: str | None = None,
    **override: Any,
) -> Evaluation:
    """Evaluate a bundle case by case, as its ``configs/evaluate.json``, or ``.yaml``, says.

    The bundle is trusted: its configs and code are run.

    Args:
        bundle: folder of the bundle, with weights.
        part: part of the data: test, validation or training. A bundle whose configs know no parts is evaluated on the data
            that they name, and takes no other part than the default.
        publish: what it is evaluated on, in words; the means are then written into the bundle's README and metadata. Only
            for bundles that write ``per_case.csv``.
        trained_by: the command that trained the weights, shown beside published results.
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
    return Evaluation(workflow.means(), table, readme)


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

    def table(self) -> Path | None:
        """Return the table with a row for each case, None if the handlers have written none."""
        if "output_dir" not in self.parser:
            return None
        folder = Path(str(self.parser.get_parsed_content("output_dir")))
        found = [folder / _TABLE, *sorted(folder.glob("*_raw.csv"))]
        return next((path for path in found if path.is_file()), None)
