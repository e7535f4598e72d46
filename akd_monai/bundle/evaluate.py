# SPDX-License-Identifier: Apache-2.0
"""Evaluate a bundle on one part of its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from akd_monai.bundle._checked import CheckedWorkflow
from akd_monai.bundle.metadata import bundle_path, weights_path
from akd_monai.bundle.publish import publish_results
from akd_monai.errors import InputError, check_choice

__all__ = ["Evaluation", "Part", "evaluate_bundle"]

Part = Literal["test", "validation", "training"]

_CONFIGS = ("train.json", "evaluate.json")


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate_bundle` measured; ``str`` of it is ready to be shown.

    Attributes:
        metrics: means over the cases, by name.
        table: CSV file with one row for each case and class.
        readme: the README into which the means were written, or None.
    """

    metrics: dict[str, float]
    table: Path
    readme: Path | None = None

    def __str__(self) -> str:
        """Return the means, and where table and README are."""
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items())
        lines = [f"Evaluated: {means}", f"Cases: {self.table}"]
        if self.readme is not None:
            lines.append(f"Published: {self.readme}")
        return "\n".join(lines)


def evaluate_bundle(
    bundle: str | Path,
    *,
    part: Part = "test",
    publish: str | None = None,
    trained_by: str | None = None,
    **override: Any,
) -> Evaluation:
    """Evaluate a bundle case by case, as its ``configs/evaluate.json`` says.

    Args:
        bundle: folder of the bundle, with weights.
        part: part of the data: test, validation or training.
        publish: what it is evaluated on, in words; the means are then written into the bundle's README and metadata.
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
    configs = [bundle_path(bundle, "configs", name) for name in _CONFIGS]
    for path in configs:
        if not path.is_file():
            raise InputError(f"bundle {str(bundle)!r} has no configs/{path.name}, which evaluation needs.")
    if not {"ckpt_path", "ckpt_dir"} & override.keys():
        weights_path(bundle)
    workflow = _EvaluationWorkflow(bundle, configs, part, override)
    workflow.initialize()
    workflow.run()
    table = Path(workflow.parser.get_parsed_content("output_dir")) / "per_case.csv"
    readme = None
    if publish is not None:
        readme = publish_results(bundle, table, data=publish, trained_by=trained_by)
    return Evaluation(_means(workflow), table, readme)


class _EvaluationWorkflow(CheckedWorkflow):
    def __init__(self, bundle: str | Path, configs: list[Path], part: str, override: dict[str, Any]) -> None:
        super().__init__(bundle, configs)
        self._override({"part": part}, override)


def _means(workflow: CheckedWorkflow) -> dict[str, float]:
    metrics = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
    return {name: value for name, value in metrics.items() if isinstance(value, float)}
