# SPDX-License-Identifier: Apache-2.0
"""Distillation as a MONAI bundle workflow: the student's own training with an overlay."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle._checked import CheckedWorkflow
from akd_monai.bundle._classes import teacher_classes
from akd_monai.bundle._configs import config_path, explained, load_config
from akd_monai.bundle._failures import bundle_failures
from akd_monai.bundle._old_ids import with_new_ids
from akd_monai.bundle._overlay import keep_one_checkpoint, merge_overlay
from akd_monai.bundle._pair_outputs import PairOutputs
from akd_monai.bundle._recipes import Recipe
from akd_monai.bundle._saved_weights import SavedWeights
from akd_monai.bundle._scripts import bundle_on_path
from akd_monai.bundle._student import find_handlers, find_run
from akd_monai.bundle._tensorboard import check_tensorboard
from akd_monai.bundle._terms import left_out_terms, name_terms, with_named_terms
from akd_monai.bundle._tracking import add_tracking_ids, tracking_settings
from akd_monai.bundle.compare import compare_bundles
from akd_monai.bundle.load import weights_of
from akd_monai.bundle.metadata import bundle_path, distillation_layer
from akd_monai.bundle.outputs import output_activation
from akd_monai.bundle.recipe import recipe_path
from akd_monai.bundle.teacher import SELF, teacher_list, teacher_root
from akd_monai.errors import InputError
from akd_monai.losses import Activation
from akd_monai.networks import Head

__all__ = ["DistillationWorkflow", "distillation_configs"]

logger = logging.getLogger(__name__)

_GENERIC_OVERLAY = Path(__file__).with_name("distill.json")
_GRAM = "lambda_gram"
_TEACHER_LAYER = "teacher_layer"
_SCRIPTED = ".ts"
_RUN_PARAMS = "run_params"
_FEATURES = ("student_layer", "teacher_layer")


class DistillationWorkflow(CheckedWorkflow):
    """Train a student bundle by distillation from a teacher bundle, both unmodified.

    The student's ``configs/train.json`` is merged with an overlay that extends its trainer and adds teacher and criterion:
    the student's own ``configs/distill.json`` where it has one, else the overlay of this package. The latter compares the
    features of the layers that both bundles name in ``metadata.json#distillation_layers``, and lets a run that is killed
    resume with the same command (``distillation_resume``: auto, never, or off).

    The trainer is the one of MONAI's bundle properties, ``train#trainer``, else the id ``trainer``, else the only trainer
    of the config. It keeps its class: the distillation is mixed into it, see
    :func:`~akd_monai.engines.distillation_trainer`. Modules in the student's folder can be imported from any working folder.

    It is a :class:`monai.bundle.ConfigWorkflow`, so ``initialize``, ``run``, ``finalize`` and ``check_properties`` are
    MONAI's. ``python -m akd_monai distill`` runs it; where the student has the usual ids, ``python -m monai.bundle run``
    with the same two configs gives the same weights.

    Args:
        teacher_bundle: folder of the teacher, with weights in ``models/model.pt``, or in ``models/model.ts`` alone; of
            several teachers a list, or a string with commas; ``"self"`` for an average of the student's own weights.
        student_bundle: folder of the student.
        terms: names of the overlay's terms to keep, the others get weight 0; all of them by default. A string is split
            at commas.
        overlay: an overlay of your own in place of the two above.
        recipe: a name of :func:`~akd_monai.bundle.list_recipes`, or a file of config ids of your own, which change what the
            overlay says; ``override`` changes what the recipe says.
        teacher_weights: other weights than the teacher's ``models/model.pt``; a list for several teachers, or for several
            weights of one.
        tracking: ``"mlflow"`` for the student's ``configs/tracking.json`` or, where it has none, for
            :class:`~akd_monai.handlers.MLflowTracker`; or a file with tracking settings, or settings, as in
            :class:`monai.bundle.ConfigWorkflow`.
        run_id: id of the expressions that start the training; by default ``run``, else the only ones that run the trainer.
        activation: what turns the logits of both networks into probabilities, ``"softmax"`` or ``"sigmoid"``; read from
            the bundles by default.
        teacher_head: which output of a teacher with several is meant, an index or a key; the final one by default.
        student_head: the same for the student.
        classes: the student's classes as sums of the teacher's, ``"gland=transition zone+peripheral zone"``; matched by
            name by default.
        allow: checks to pass in spite of what they find, as their messages name them; a string is split at commas.
        override: config values by id, as on MONAI's command line: ``{"train#trainer#max_epochs": 5}``. An id that no
            config has is refused. Terms of the overlay have ids by name: ``distillation#terms#logits#loss#temperature``.

    Raises:
        InputError: if a folder is no bundle, a config is broken, the two do not fit, or the teacher has no weights.
        UnknownNameError: for a term or an overridden id that does not exist.
        BundleError: while it runs, for an error of the student's own config or code.

    Example:
        >>> DistillationWorkflow("no/such/teacher", "student", terms="logits", epochs=5)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/teacher' does not exist; ...
    """

    def __init__(
        self,
        teacher_bundle: str | Path | Sequence[str | Path],
        student_bundle: str | Path,
        *,
        terms: str | Sequence[str] | None = None,
        overlay: str | Path | None = None,
        recipe: str | Path | None = None,
        teacher_weights: str | Path | Sequence[str | Path | None] | None = None,
        tracking: str | dict[str, Any] | None = None,
        run_id: str | None = None,
        activation: Activation | None = None,
        teacher_head: Head = None,
        student_head: Head = None,
        classes: str | None = None,
        allow: str | Sequence[str] = (),
        **override: Any,
    ) -> None:
        outputs = PairOutputs(activation, teacher_head, student_head, classes)
        recipe_ids = Recipe(None if recipe is None else recipe_path(recipe))
        pair = compare_bundles(
            teacher_bundle,
            student_bundle,
            activation=activation,
            classes=classes,
            allow=allow,
            override={**recipe_ids.ids, **override},
        )
        for warning in pair:
            logger.warning("%s.", warning)
        teachers = teacher_list(teacher_bundle, teacher_weights)
        train, chosen = distillation_configs(student_bundle, overlay)
        super().__init__(student_bundle, [train], logging_file=_logging_file(student_bundle))
        # MONAI's workflows take attributes only after their own __init__
        self._is_generic = chosen == _GENERIC_OVERLAY
        root = teacher_root([_absolute(folder) for folder, _ in teachers], Path(student_bundle).resolve())
        self._teacher_root: Any = root
        self._allowed = _listed(allow)
        with explained([chosen]):
            self._trainer_id = merge_overlay(self.parser, load_config(chosen), chosen)
        name_terms(self.parser)
        if self._is_generic:
            keep_one_checkpoint(self.parser, find_handlers(self.parser, self._trainer_id))
        self.run_id = find_run(self.parser, self._trainer_id, run_id)
        self._merge_recipe(recipe_ids, override)
        override = with_named_terms(self.parser, with_new_ids(self.parser, override))
        values = {
            **_of_teachers(teachers),
            # for an overlay of one's own, which need not know it
            **({} if "teacher_root" in self.parser else {"teacher_root": root}),
            **left_out_terms(self.parser, terms, recipe_ids.left_out),
            **self._outputs(outputs),
            **({"allow": self._allowed} if self._allowed and "allow" in self.parser else {}),
        }
        settings = None
        if tracking is not None:
            settings = tracking_settings(tracking, self._bundle_dir, self.parser, self._trainer_id)
            add_tracking_ids(self.parser, settings)
        self._override({**values, **self._unused_layers(values, {**recipe_ids.ids, **override})}, override)
        if settings is not None:
            self._track(settings, recipe_ids)

    def _track(self, settings: dict[str, Any], recipe: Recipe) -> None:
        """Add a tracking handler as MONAI does; after the overrides, which the settings may refer to."""
        known = self.parser.get(_RUN_PARAMS)
        if recipe.path is not None and isinstance(known, Mapping):
            # the settings of a run do not say where they come from
            self.parser[_RUN_PARAMS] = {"recipe": recipe.path.stem, **known}
        self.patch_bundle_tracking(parser=self.parser, settings=settings)

    def _merge_recipe(self, recipe: Recipe, given: Mapping[str, Any]) -> None:
        if recipe.path is None:
            return
        recipe.check_needs(given)
        recipe.merge(self.parser, self._trainer_id, find_handlers(self.parser, self._trainer_id), self._bundle_dir)
        logger.info("recipe %s: %s", recipe.path.stem, recipe.sentence)

    def _outputs(self, outputs: PairOutputs) -> dict[str, Any]:
        found = {} if "teacher_output" in self.parser else self._said_outputs(outputs)
        return outputs.values(self.parser, self._trainer_id, found)

    def _said_outputs(self, outputs: PairOutputs) -> dict[str, Any]:
        """Return what the bundles say, for an overlay that does not ask them itself."""
        activation = outputs.activation or output_activation(self._bundle_dir)
        classes = teacher_classes(
            self._teacher_root, self._bundle_dir, outputs.classes, activation=activation, allow=self._allowed
        )
        return {"activation": activation, "classes": classes}

    def _unused_layers(self, values: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
        """Return None for a teacher's layer that no term needs, and that its metadata does not name."""
        merged = {**values, **override}
        weights = merged.get("teacher_weights")
        files = weights if isinstance(weights, list) else [weights]
        is_scripted = any(str(file or "").endswith(_SCRIPTED) for file in files)
        if is_scripted and merged.get("teacher_layer") is not None:
            raise InputError(
                "a TorchScript teacher (models/model.ts) has no features by layer",
                remedy="leave out teacher_layer, or give weights for the network in the teacher's config",
            )
        if _TEACHER_LAYER not in self.parser or _TEACHER_LAYER in override:
            return {}
        if is_scripted:
            logger.info("The teacher is TorchScript, which has no features by layer: the Gram term is off.")
            return {_TEACHER_LAYER: None, **({_GRAM: 0.0} if _GRAM not in override else {})}
        is_off = merged.get(_GRAM, self.parser.get(_GRAM)) in (0, "0", None)
        return {_TEACHER_LAYER: None} if is_off and not self._has_layer() else {}

    def _has_layer(self) -> bool:
        """Return whether the metadata of every teacher names the layer, by one path."""
        try:
            return bool(distillation_layer(self._teacher_root, "high", missing_ok=True))
        except InputError:
            return False

    def initialize(self) -> Any:
        """Parse the configs and run what the student's ``initialize`` says."""
        with bundle_on_path(self._bundle_dir), bundle_failures(self._bundle_dir):
            left_out = check_tensorboard(self.parser, leave_out="tensorboard" in self._allowed)
            for name in left_out:
                logger.warning("%s is left out, tensorboard is not installed.", name)
            result = super().initialize()
            if self._is_generic:
                self._report_features()
        return result

    def run(self) -> Any:
        """Run the training."""
        with bundle_on_path(self._bundle_dir), bundle_failures(self._bundle_dir):
            return super().run()

    def finalize(self) -> Any:
        """Run what the student's ``finalize`` says."""
        with bundle_on_path(self._bundle_dir), bundle_failures(self._bundle_dir):
            return super().finalize()

    def train(self) -> Path | None:
        """Run from start to end and return the weights that the student's handlers have written, None if there are none.

        The best weights by validation are preferred to the newest. Files that were there before are never returned.
        """
        folders = [self._bundle_dir]
        if isinstance(self.parser.get("ckpt_dir"), str):
            with bundle_failures(self._bundle_dir):
                folders.append(Path(str(self.parser.get_parsed_content("ckpt_dir"))))
        before = SavedWeights(folders)
        self.initialize()
        self.run()
        self.finalize()
        return before.of_run(self._trainer())

    def _trainer(self) -> Any:
        """Return the trainer that has run, without building one."""
        known = self.parser.ref_resolver.resolved_content
        return known.get(self._trainer_id.replace("#", "::"))

    def _report_features(self) -> None:
        layers = [self.parser.get_parsed_content(name) for name in _FEATURES]
        if None in layers:
            logger.info(
                "No features are compared: the Gram term is off and the affinity term uses the student's logits unless "
                "student_layer is set. Give student_layer and teacher_layer, or name them under 'distillation_layers' "
                "in metadata.json."
            )


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


def _of_teachers(teachers: Sequence[tuple[str, str | None]]) -> dict[str, Any]:
    """Return the ids of the teacher's folder and weights: single values for one teacher, lists for several."""
    if teachers[0][0] == SELF:
        return {"teacher_bundle": SELF, "teacher_weights": teachers[0][1]}
    folders = [_absolute(folder) for folder, _ in teachers]
    weights = [weights_of(folder, file) for folder, file in teachers]
    if len(teachers) == 1:
        return {"teacher_bundle": folders[0], "teacher_weights": weights[0]}
    own = all(file is None for file in weights)
    return {"teacher_bundle": folders, "teacher_weights": None if own else weights}


def _absolute(folder: str) -> str:
    return folder if folder == SELF else str(Path(folder).resolve())


def _logging_file(bundle: str | Path) -> str | bool:
    path = bundle_path(bundle, "configs", "logging.conf")
    return str(path) if path.is_file() else False


def _listed(names: str | Sequence[str]) -> list[str]:
    parts = names.split(",") if isinstance(names, str) else names
    return [str(name).strip() for name in parts]
