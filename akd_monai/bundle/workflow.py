# SPDX-License-Identifier: Apache-2.0
"""Distillation as a MONAI bundle workflow: the student's own training with an overlay."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._checked import CheckedWorkflow
from akd_monai.bundle._configs import config_path
from akd_monai.bundle.compare import compare_bundles
from akd_monai.bundle.metadata import bundle_path, weights_path
from akd_monai.errors import InputError, unknown_name

__all__ = ["DistillationWorkflow", "distill_bundle", "distillation_configs"]

logger = logging.getLogger(__name__)

_GENERIC_OVERLAY = Path(__file__).with_name("distill.json")
_LAMBDA = "lambda_"
_FEATURES = ("student_layer", "teacher_layer")

# ids of version 0.1, which are still accepted
_OLD_IDS = {
    "teacher_cache_dtype": "teacher_options#cache_dtype",
    "teacher_dtype": "teacher_options#dtype",
    "teacher_channels_last": "teacher_options#channels_last",
    "teacher_compile": "teacher_options#compile",
}


class DistillationWorkflow(CheckedWorkflow):
    """Train a student bundle by distillation from a teacher bundle, both unmodified.

    The student's ``configs/train.json`` is merged with an overlay that replaces the trainer and adds teacher and
    criterion: the student's own ``configs/distill.json`` where it has one, else the overlay of this package, which works
    with any bundle that uses the standard ids (``network_def``, ``device``, ``train#trainer``). The latter compares the
    features of the layers that both bundles name in ``metadata.json#distillation_layers``.

    It is a :class:`monai.bundle.ConfigWorkflow`, so ``initialize``, ``run``, ``finalize`` and ``check_properties`` are
    MONAI's. ``python -m akd_monai distill`` runs it; ``python -m monai.bundle run`` with the same two configs gives the
    same weights.

    Args:
        teacher_bundle: folder of the teacher, with weights in ``models/model.pt``.
        student_bundle: folder of the student.
        terms: names of the overlay's terms to keep, the others get weight 0; all of them by default. A string is split
            at commas.
        overlay: an overlay of your own in place of the two above.
        teacher_weights: other weights than the teacher's ``models/model.pt``.
        tracking: as in :class:`monai.bundle.ConfigWorkflow`: ``"mlflow"``, or a file with tracking settings.
        override: config values by id, as on MONAI's command line: ``{"train#trainer#max_epochs": 5}``. An id that no
            config has is refused.

    Raises:
        InputError: if a folder is no bundle, a config is broken, the two do not fit, or the teacher has no weights.
        UnknownNameError: for a term or an overridden id that does not exist.

    Example:
        >>> DistillationWorkflow("no/such/teacher", "student", terms="logits", epochs=5)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/teacher' does not exist; ...
    """

    def __init__(
        self,
        teacher_bundle: str | Path,
        student_bundle: str | Path,
        *,
        terms: str | Sequence[str] | None = None,
        overlay: str | Path | None = None,
        teacher_weights: str | Path | None = None,
        tracking: str | dict[str, Any] | None = None,
        **override: Any,
    ) -> None:
        for warning in compare_bundles(teacher_bundle, student_bundle):
            logger.warning("%s.", warning)
        if teacher_weights is None:
            weights_path(teacher_bundle)
        configs = distillation_configs(student_bundle, overlay)
        super().__init__(student_bundle, configs, logging_file=_logging_file(student_bundle))
        # MONAI's workflows take attributes only after their own __init__
        self._is_generic = configs[-1] == _GENERIC_OVERLAY
        values = {
            "teacher_bundle": str(Path(teacher_bundle).resolve()),
            "teacher_weights": None if teacher_weights is None else str(Path(teacher_weights).resolve()),
            **_left_out_terms(self.parser, terms),
        }
        self._override(values, _with_new_ids(self.parser, override))
        self._track(tracking)

    def initialize(self) -> Any:
        """Parse the configs and run what the student's ``initialize`` says."""
        result = super().initialize()
        if self._is_generic:
            self._report_features()
        return result

    def _report_features(self) -> None:
        layers = [self.parser.get_parsed_content(name) for name in _FEATURES]
        if None in layers:
            logger.info(
                "No features are compared: the Gram term is off and the affinity term uses the student's logits unless "
                "student_layer is set. Give student_layer and teacher_layer, or name them under 'distillation_layers' "
                "in metadata.json."
            )


def distill_bundle(
    teacher: str | Path,
    student: str | Path,
    *,
    terms: str | Sequence[str] | None = None,
    overlay: str | Path | None = None,
    teacher_weights: str | Path | None = None,
    tracking: str | dict[str, Any] | None = None,
    **override: Any,
) -> Path:
    """Run a :class:`DistillationWorkflow` from start to end and return the path of the student's weights.

    Args:
        teacher: folder of the teacher bundle, with weights.
        student: folder of the student bundle.
        terms: which of the overlay's terms to keep (logits, gram, affinity), the others get weight 0; all by default.
        overlay: a ``distill.json`` of your own.
        teacher_weights: other weights than the teacher's ``models/model.pt``.
        tracking: mlflow, or a file with tracking settings.
        override: any id of the configs, for instance ``epochs`` or ``train#trainer#max_epochs``.

    Raises:
        InputError: for a mistake in the bundles or the data.
        UnknownNameError: for a term or an id that does not exist.

    Example:
        >>> distill_bundle("no/such/teacher", "student")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/teacher' does not exist; ...
    """
    workflow = DistillationWorkflow(
        teacher,
        student,
        terms=terms,
        overlay=overlay,
        teacher_weights=teacher_weights,
        tracking=tracking,
        **override,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    has_folder = "ckpt_dir" in workflow.parser
    folder = workflow.parser.get_parsed_content("ckpt_dir") if has_folder else bundle_path(student, "models")
    return Path(folder) / "model.pt"


def distillation_configs(student_bundle: str | Path, overlay: str | Path | None = None) -> list[Path]:
    """Return the two config files of a distillation run, in the order in which they are merged.

    Args:
        student_bundle: folder of the student.
        overlay: an overlay of your own; by default the student's ``configs/distill.json``, else that of this package.

    Raises:
        InputError: if there is no ``configs/train.json``, or ``overlay`` does not exist.
    """
    train = config_path(student_bundle, "train")
    if train is None:
        raise InputError(
            f"bundle {str(student_bundle)!r} has no configs/train.json, so there is no training to add a teacher to."
        )
    if overlay is None:
        return [train, config_path(student_bundle, "distill") or _GENERIC_OVERLAY]
    if not Path(overlay).is_file():
        raise InputError(
            f"overlay {str(overlay)!r} does not exist; leave it out to use the bundle's or the package's own."
        )
    return [train, Path(overlay)]


def _left_out_terms(parser: ConfigParser, terms: str | Sequence[str] | None) -> dict[str, float]:
    """Return a weight of 0 for each term that is not wanted."""
    if terms is None:
        return {}
    known = [name.removeprefix(_LAMBDA) for name in parser.get() if name.startswith(_LAMBDA)]
    names = terms.split(",") if isinstance(terms, str) else terms
    wanted = [str(name).strip() for name in names]
    for name in wanted:
        if name not in known:
            raise unknown_name("loss", name, known, where="in this overlay")
    return {f"{_LAMBDA}{name}": 0.0 for name in known if name not in wanted}


def _with_new_ids(parser: ConfigParser, override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``override`` with the ids that an overlay of today has in place of those of version 0.1."""
    renamed = {}
    for name, value in override.items():
        new = _OLD_IDS.get(name)
        if new is not None and name not in parser:
            logger.warning("%s is now %s; change the name, the old one will be removed.", name, new)
            renamed[new] = value
        else:
            renamed[name] = value
    return renamed


def _logging_file(bundle: str | Path) -> str | bool:
    path = bundle_path(bundle, "configs", "logging.conf")
    return str(path) if path.is_file() else False
