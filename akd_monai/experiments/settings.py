# SPDX-License-Identifier: Apache-2.0
"""Settings of a demo run; the fields are also the flags of ``python -m akd_monai demo``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from akd_monai.errors import InputError, check_number, unknown_name

__all__ = ["DemoSettings"]

_WEIGHTS = ("lambda_logits", "lambda_gram", "lambda_affinity")
_AT_LEAST_ONE = ("teacher_epochs", "epochs", "samples_per_epoch", "batch_size", "cases_per_site", "slices")
# None stands for what follows from the data
_OPTIONAL = ("size", "labelled_cases")
_INTEGERS = (*_AT_LEAST_ONE, *_OPTIONAL, "folds", "fold")


@dataclass(frozen=True)
class DemoSettings:
    """Sizes and schedules of the demo, reduced so that two CPU cores finish in minutes.

    Args:
        sources: sites of the teacher; all but the target by default.
        target: site of the student; I2CVB where it exists, else the last one.
        size: side of the slices in pixels, a multiple of 16; 128 for the synthetic set and 192 for given data.
        features: widths of the teacher's five levels (64 to 1024 in the paper).
        teacher_epochs: epochs of the teacher.
        epochs: epochs of the student, alone and distilled alike.
        samples_per_epoch: slices drawn in an epoch.
        batch_size: slices in a batch.
        learning_rate: of all trainings (0.01 in the paper).
        folds: parts into which the target's cases are split; one part is held out.
        fold: the part held out.
        cases_per_site: cases of each site of the synthetic set.
        slices: slices of each synthetic case.
        lambda_logits: weight of the logits term.
        lambda_gram: weight of the Gram-kernel term.
        lambda_affinity: weight of the affinity term.
        recipe: recipe by which a second student is distilled, for comparison; null for none.
        labelled_cases: training cases of the target that keep their labels; by default half of them with the recipe
            unlabelled, which learns from the images of the others, and else all.
    """

    sources: tuple[str, ...] = ()
    target: str | None = None
    size: int | None = None
    features: tuple[int, ...] = (8, 16, 32, 64, 128)
    teacher_epochs: int = 12
    epochs: int = 12
    samples_per_epoch: int = 96
    batch_size: int = 8
    learning_rate: float = 0.01
    folds: int = 2
    fold: int = 0
    cases_per_site: int = 12
    slices: int = 10
    lambda_logits: float = 0.2
    lambda_gram: float = 0.9
    lambda_affinity: float = 0.9
    recipe: str | None = "unlabelled"
    labelled_cases: int | None = None

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> DemoSettings:
        """Make settings from flags.

        Raises:
            UnknownNameError: for a flag that is no field.
            InputError: for a size or number that is out of range.

        Example:
            >>> DemoSettings.from_flags({"epochs": 3, "sources": "RUNMC,BMC"}).sources
            ('RUNMC', 'BMC')
        """
        known = [field.name for field in fields(cls)]
        for name in flags:
            if name not in known:
                raise unknown_name("setting", name, known, where="of the demo")
        values = dict(flags)
        for name in ("sources", "features"):
            if name in values:
                values[name] = _as_tuple(values[name])
        for name in ("recipe", "labelled_cases"):
            if values.get(name) in ("null", "None"):
                values[name] = None
        return cls(**values)

    def __post_init__(self) -> None:
        _check_integers(self)
        if self.size is not None and (self.size < 32 or self.size % 16):
            near = max(32, round(self.size / 16) * 16)
            raise InputError(f"size must be a multiple of 16, at least 32, got {self.size}; try {near}.")
        if len(self.features) != 5 or not all(type(width) is int and width > 0 for width in self.features):
            raise InputError(f"features must be five widths, integers above 0, got {list(self.features)}.")
        check_number("learning_rate", self.learning_rate, above=0)
        for name in _WEIGHTS:
            check_number(name, getattr(self, name), at_least=0)
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.labelled_cases is not None and self.labelled_cases < 1:
            raise InputError(f"labelled_cases must be at least 1, or null for all, got {self.labelled_cases}.")
        if self.batch_size < 2:
            raise InputError("batch_size must be at least 2: the Gram matrix of one sample says nothing.")
        if self.samples_per_epoch < self.batch_size:
            raise InputError(
                f"samples_per_epoch {self.samples_per_epoch} gives no batch of {self.batch_size}; raise it."
            )
        if not 0 <= self.fold < self.folds or self.folds < 2:
            raise InputError(
                f"fold must lie in 0..folds-1 with at least 2 folds, got fold {self.fold} of {self.folds}."
            )

    def lambdas(self) -> dict[str, float]:
        """Return the weight of each distillation term by its name."""
        return {"logits": self.lambda_logits, "gram": self.lambda_gram, "affinity": self.lambda_affinity}

    def as_dict(self) -> dict[str, Any]:
        """Return the settings with lists for tuples, as JSON gives them back."""
        values = asdict(self)
        for name in ("sources", "features"):
            values[name] = list(values[name])
        return values


def _check_integers(settings: DemoSettings) -> None:
    for name in _INTEGERS:
        value = getattr(settings, name)
        if type(value) is not int and not (value is None and name in _OPTIONAL):
            raise InputError(f"{name} must be an integer, got {value!r}.")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        return tuple(value.split(","))
    return tuple(value) if isinstance(value, Sequence) else (value,)
