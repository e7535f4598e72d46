# SPDX-License-Identifier: Apache-2.0
"""The verbs that run bundles: distil, evaluate."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from akd_monai.bundle.metadata import LAYERS_KEY, bundle_path, distillation_layer, read_metadata, weights_path
from akd_monai.bundle.results import publish_results
from akd_monai.bundle.workflow import GENERIC_OVERLAY, DistillationWorkflow, check_overrides, distillation_configs
from akd_monai.errors import InputError, UnknownNameError, near_matches

logger = logging.getLogger(__name__)
_LAMBDA = "lambda_"


def distill(
    teacher: str | Path,
    student: str | Path,
    *,
    terms: str | Sequence[str] | None = None,
    overlay: str | Path | None = None,
    teacher_weights: str | Path | None = None,
    tracking: str | dict | None = None,
    **override: Any,
) -> str:
    """Run a distillation and return a line that names the student's weights; see :class:`DistillationWorkflow`.

    Args:
        teacher: the teacher's folder.
        student: the student's folder.
        terms: names of the overlay's terms to keep, the others get weight 0; all of them by default.
        overlay: an overlay of your own.
        teacher_weights: other weights than the teacher's own.
        tracking: as in :class:`monai.bundle.ConfigWorkflow`.
        override: ids of the configs.

    Raises:
        InputError: for a mistake in the bundles or the data.
        UnknownNameError: for a term or an id that does not exist.
    """
    bundle_path(teacher)
    configs = distillation_configs(student, overlay)
    override = {**_terms(configs, terms), **_layers(configs, teacher, student, override), **override}
    workflow = DistillationWorkflow(
        teacher, student, overlay=overlay, teacher_weights=teacher_weights, tracking=tracking, **override
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    folder = (
        workflow.parser.get_parsed_content("ckpt_dir") if "ckpt_dir" in workflow.parser else Path(student) / "models"
    )
    return f"Student: {Path(folder) / 'model.pt'}"


def _terms(configs: list[Path], terms: str | Sequence[str] | None) -> dict[str, float]:
    """Turn the wanted terms into weights of 0 for all others."""
    if terms is None:
        return {}
    parser = ConfigParser()
    parser.read_config([str(c) for c in configs])
    known = [key.removeprefix(_LAMBDA) for key in parser.get() if key.startswith(_LAMBDA)]
    wanted = [t.strip() for t in (terms.split(",") if isinstance(terms, str) else terms)]
    for term in wanted:
        if term not in known:
            raise UnknownNameError(
                f"unknown loss {term!r}.{near_matches(term, known)} This overlay has: {', '.join(known) or 'none'}."
            )
    return {f"{_LAMBDA}{name}": 0.0 for name in known if name not in wanted}


def _layers(configs: list[Path], teacher: str | Path, student: str | Path, given: Mapping[str, Any]) -> dict[str, str]:
    """Fill in the layers that metadata names, for the overlay of this package, which names none."""
    if configs[-1] != GENERIC_OVERLAY:
        return {}
    found = {}
    for key, bundle in (("student_layer", student), ("teacher_layer", teacher)):
        if key not in given and "high" in read_metadata(bundle).get(LAYERS_KEY, {}):
            found[key] = distillation_layer(bundle, "high")
    if len({**found, **given}.keys() & {"student_layer", "teacher_layer"}) < 2:
        logger.info(
            "No features are compared (the Gram term is off and the affinity term works on the logits), because %s; "
            "give student_layer and teacher_layer to compare them.",
            f"metadata.json names no {LAYERS_KEY!r} of one of the bundles",
        )
    return found


def evaluate(
    bundle: str | Path,
    *,
    part: str = "test",
    publish: str | None = None,
    trained_by: str | None = None,
    **override: Any,
) -> str:
    """Judge a bundle on one part of its data and return a line that names the table of cases.

    Args:
        bundle: the bundle's folder, with ``configs/train.json``, ``configs/evaluate.json`` and weights.
        part: ``"test"``, ``"validation"`` or ``"training"``.
        publish: what is judged on, in words; the figures are then written into the bundle's README and metadata.
        trained_by: the command that trained the weights, shown beside published figures.
        override: ids of the configs, such as ``dataset_dir`` and ``sites``.

    Raises:
        InputError: for a mistake in the bundle or the data, among them missing weights.
    """
    configs = [bundle_path(bundle, "configs", name) for name in ("train.json", "evaluate.json")]
    for path in configs:
        if not path.is_file():
            raise InputError(f"bundle {str(bundle)!r} has no configs/{path.name}, which evaluation needs.")
    if "ckpt_path" not in override:
        weights_path(bundle)
    values = {"bundle_root": str(Path(bundle).resolve()), "part": part, **override}
    check_overrides(configs, values)
    workflow = ConfigWorkflow(config_file=[str(c) for c in configs], workflow_type="train", **values)
    workflow.initialize()
    workflow.run()
    metrics = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
    output = Path(workflow.parser.get_parsed_content("output_dir"))
    means = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if isinstance(value, float))
    lines = [f"Evaluated: {means}", f"Cases: {output / 'per_case.csv'}"]
    if publish is not None:
        lines.append(
            f"Published: {publish_results(bundle, output / 'per_case.csv', data=publish, trained_by=trained_by)}"
        )
    return "\n".join(lines)
