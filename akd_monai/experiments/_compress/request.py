# SPDX-License-Identifier: Apache-2.0
"""What a compression is asked for: teacher, data, students, and how they learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akd_monai.bundle import list_recipes, recipe_path
from akd_monai.bundle._recipes import Recipe
from akd_monai.errors import InputError, check_choice
from akd_monai.experiments._plan.commands import written_value

__all__ = ["DEFAULT_RECIPE", "Request", "check_request"]

# Of the recipes that need nothing beside teacher and data it is the one whose terms stay below the task loss: a teacher that
# is wrong about a site cannot overrule the site's labels.
DEFAULT_RECIPE = "careful"


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Args:
        teacher: folder of the large bundle.
        weights: its weights.
        dataset_dir: the data.
        students: names of networks, or folders of bundles; none for the usual ones.
        widths: width multipliers of each student.
        recipe: how students are distilled.
        sites: where students learn; ``None`` to find out.
        folds: into how many parts the cases of a site are split; likewise.
        fold: which of them is held out; likewise.
        seed: of the trainings.
        trusted: whether code of the teacher's bundle may be run.
        allow: cautions that are accepted by name.
        settings: config ids that are changed in every student.
    """

    teacher: Path
    weights: Path
    dataset_dir: Path
    students: tuple[str, ...] = ()
    widths: tuple[float, ...] = (1.0,)
    recipe: str = DEFAULT_RECIPE
    sites: tuple[str, ...] | None = None
    folds: int | None = None
    fold: int | None = None
    seed: int = 0
    trusted: bool = False
    allow: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flags(self) -> Sequence[str]:
        """The flags of a distillation that the recipe and the trust in the teacher make."""
        path = recipe_path(self.recipe)
        # a training starts in another folder
        recipe = self.recipe if self.recipe in list_recipes() else path.resolve()
        needed = {name: self.settings[name] for name in Recipe(path).needs if name in self.settings}
        # a recipe asks for these beside the configs
        given = [f"--{name}={written_value(value)}" for name, value in needed.items()]
        return [f"--recipe={recipe}", *given, *self.trust]

    @property
    def trust(self) -> Sequence[str]:
        """The flag of a training for a teacher whose code may be run."""
        return ["--trust_teacher"] if self.trusted else []


# an id of a recipe's needs that a training at the teacher's sites gives
_INITIAL = "initial_weights"
_CAUTIONS = ("seen",)
_RESERVED = (
    "dataset_dir", "ckpt_dir", "output_dir", "seed", "sites", "fold", "folds", "part", "ckpt_path", "initial_weights",
    "teacher_bundle", "teacher_weights",
)  # fmt: skip


def check_request(request: Request, *, has_sources: bool) -> None:
    """Refuse a recipe that needs what is not there, and settings that are the command's own.

    Args:
        request: what is asked for.
        has_sources: whether students can be pre-trained.

    Raises:
        InputError: naming what is missing or in the way.
        UnknownNameError: for a recipe that does not exist.
    """
    for name in request.allow:
        check_choice("allow", name, _CAUTIONS)
    for name in request.settings:
        if name in _RESERVED:
            raise InputError(f"{name!r} is set by compress itself, for each of its trainings", remedy="leave it out")
    needs = Recipe(recipe_path(request.recipe)).needs
    given = {*request.settings, *([_INITIAL] if has_sources else [])}
    missing = [f"{name} ({what})" for name, what in needs.items() if name not in given]
    if missing:
        remedy = "take another one: python -m akd_monai recipes lists them"
        raise InputError(f"recipe {request.recipe!r} needs {' and '.join(missing)}", where="compress", remedy=remedy)
