# SPDX-License-Identifier: Apache-2.0
"""The images that a teacher was made for beside those that a student's training gives it, by their configs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle._image_facts import ImageFacts, image_facts
from akd_monai.bundle._static import UNKNOWN, StaticConfig, try_static
from akd_monai.bundle._student import find_trainer
from akd_monai.errors import InputError
from akd_monai.handlers.findings import Check, Finding, Severity

__all__ = ["compare_preprocessing"]

# a network hardly sees a difference of scale below this, and cannot be expected to work above
_SAME_SPACING = 1.02
_OTHER_SPACING = 1.25

_INFERENCE = ("preprocessing", "preprocessing_transforms", "pre_transforms")
_VALIDATION = ("validate#preprocessing", "validate#dataset#transform", "val_dataset#transform", "val_transforms")
_TRAINING = ("train#preprocessing", "train#dataset#transform", "train_dataset#transform", "train_transforms")


def compare_preprocessing(
    teacher: str | Path, student: str | Path, override: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Return in what a student's training prepares images in another way than a teacher's inference.

    The teacher sees the student's batches. Compared are deterministic transforms of the image, read without running
    anything: intensities, spacing, orientation and the size to which images are resized. Random transforms are left out.
    What the teacher's own training does in the student's way is no difference, whatever its inference does.

    Args:
        teacher: its inference config is read, else the validation of its train config.
        student: the transform of its training's data set is read.
        override: values by id that the run sets in the student's configs.

    Raises:
        InputError: if a folder is no bundle.
    """
    theirs = _facts(_of_teacher(teacher))
    ours = _facts(_of_training(student, override))
    if theirs is None or ours is None:
        whose = "teacher's inference" if theirs is None else "student's training"
        meaning = f"the preprocessing of the {whose} cannot be read without running it: check that both are alike"
        return [Finding("intensity", "note", _known(theirs), _known(ours), meaning)]
    found = _differences(theirs, ours)
    trained = _facts(_of_training(teacher)) if found else None
    if trained is None:
        return found
    known = {finding.check for finding in _differences(trained, ours)}
    return [finding for finding in found if finding.check in known]


def _differences(theirs: ImageFacts, ours: ImageFacts) -> list[Finding]:
    found = [*_intensity(theirs, ours), *_spacing(theirs, ours), *_orientation(theirs, ours), *_size(theirs, ours)]
    return [_weaker(finding) for finding in found] if theirs.unread != ours.unread else found


def _known(facts: ImageFacts | None) -> str:
    return "unknown" if facts is None else "known"


def _weaker(finding: Finding) -> Finding:
    """Return a finding as a warning: what cannot be read may make up for the difference."""
    if finding.severity == "note":
        return finding
    meaning = f"{finding.meaning}, unless transforms that cannot be read make up for it"
    return Finding(finding.check, "warning", finding.teacher, finding.student, meaning)


def _facts(content: Any) -> ImageFacts | None:
    return None if content is UNKNOWN else image_facts(content)


def _of_teacher(bundle_dir: str | Path) -> Any:
    inference = try_static(bundle_dir, "inference")
    found = UNKNOWN if inference is None else _first(inference, _INFERENCE)
    if found is not UNKNOWN:
        return found
    train = try_static(bundle_dir, "train")
    return UNKNOWN if train is None else _first(train, (*_VALIDATION, *_TRAINING))


def _of_training(bundle_dir: str | Path, override: Mapping[str, Any] | None = None) -> Any:
    train = try_static(bundle_dir, "train", override=override)
    if train is None:
        return UNKNOWN
    try:
        trainer = find_trainer(train.parser)
    except InputError:
        return _first(train, _TRAINING)
    loader = train.get(f"{trainer}#train_data_loader")
    dataset = loader.get("dataset") if isinstance(loader, dict) else None
    found = dataset.get("transform", UNKNOWN) if isinstance(dataset, dict) else UNKNOWN
    return found if _is_read(found) else _first(train, _TRAINING)


def _first(config: StaticConfig, places: Sequence[str]) -> Any:
    found = (config.get(place) for place in places)
    return next((value for value in found if _is_read(value)), UNKNOWN)


def _is_read(value: Any) -> bool:
    inner = value.get("transforms", value) if isinstance(value, dict) else value
    return isinstance(inner, (list, dict))


def _intensity(theirs: ImageFacts, ours: ImageFacts) -> Iterator[Finding]:
    if theirs.intensity == ours.intensity:
        return
    shown = [_shown(one.intensity, other.intensity) for one, other in ((theirs, ours), (ours, theirs))]
    unknown = _has_unknown([*theirs.intensity, *ours.intensity])
    if (unknown and not _is_known_to_differ(theirs, ours)) or _scaling(theirs) == _scaling(ours):
        yield Finding("intensity", "warning", shown[0], shown[1], "the teacher may see other intensities")
    else:
        meaning = "the teacher sees intensities that it was not trained on"
        yield Finding("intensity", "danger", shown[0], shown[1], meaning)


def _is_known_to_differ(theirs: ImageFacts, ours: ImageFacts) -> bool:
    """Return whether the same steps differ in an argument that both tell, whatever the others are."""
    one = _scaling(theirs)
    other = _scaling(ours)
    if [name for name, _ in one] != [name for name, _ in other]:
        return False
    pairs = ((dict(a), dict(b)) for (_, a), (_, b) in zip(one, other, strict=True))
    return any(a[key] != b[key] for a, b in pairs for key in a.keys() & b.keys() if not _has_unknown([a[key], b[key]]))


def _has_unknown(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value
    return value is UNKNOWN or (
        isinstance(inner, Iterable) and not isinstance(inner, str) and any(map(_has_unknown, inner))
    )


def _scaling(facts: ImageFacts) -> list[tuple[str, Any]]:
    return [step for step in facts.intensity if "Smooth" not in step[0]]


def _shown(steps: Sequence[tuple[str, Any]], other: Sequence[tuple[str, Any]]) -> str:
    """Return the steps in short: of each the arguments in which it differs from that of the other, or the first few."""
    if not steps:
        return "no scaling"
    others = dict(other)
    told = []
    for name, given in steps:
        differing = [(key, value) for key, value in given if dict(others.get(name, ())).get(key, UNKNOWN) != value]
        told.append(f"{name}({', '.join(f'{key}={_number(value)}' for key, value in differing[:6])})")
    return " then ".join(told)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spacing(theirs: ImageFacts, ours: ImageFacts) -> Iterator[Finding]:
    one = _three(theirs.spacing)
    other = _three(ours.spacing)
    if one is None or other is None:
        if _is_one_sided(theirs.spacing, ours.spacing):
            meaning = "only one of the two resamples, so that the teacher may see another scale"
            yield _plain("spacing", "warning", theirs, ours, lambda facts: facts.spacing, meaning)
        return
    largest = max(max(a, b) / min(a, b) for a, b in zip(one, other, strict=False))
    if largest > _SAME_SPACING:
        severity: Severity = "danger" if largest > _OTHER_SPACING else "warning"
        meaning = f"the teacher sees anatomy scaled by up to {largest:.2g}"
        yield _plain("spacing", severity, theirs, ours, lambda facts: facts.spacing, meaning)


def _three(spacing: Any) -> list[float] | None:
    values = [spacing] * 3 if isinstance(spacing, (int, float)) else spacing
    if not isinstance(values, list) or not all(isinstance(value, (int, float)) and value > 0 for value in values):
        return None
    return [float(value) for value in values]


def _is_one_sided(one: Any, other: Any) -> bool:
    return (one is None) != (other is None) and UNKNOWN not in (one, other)


def _orientation(theirs: ImageFacts, ours: ImageFacts) -> Iterator[Finding]:
    one = theirs.orientation
    other = ours.orientation
    if isinstance(one, str) and isinstance(other, str) and one.upper() != other.upper():
        yield Finding("orientation", "danger", one, other, "the teacher sees anatomy flipped or turned")
    elif _is_one_sided(one, other):
        meaning = "only one of the two brings volumes into one orientation, so that the teacher may see them flipped"
        yield _plain("orientation", "warning", theirs, ours, lambda facts: facts.orientation, meaning)
    if theirs.turns != ours.turns:
        shown = [", ".join(name for name, _ in facts.turns) or "none" for facts in (theirs, ours)]
        yield Finding("orientation", "danger", shown[0], shown[1], "the teacher sees images flipped or turned")


def _size(theirs: ImageFacts, ours: ImageFacts) -> Iterator[Finding]:
    if theirs.size == ours.size or UNKNOWN in (theirs.size, ours.size):
        return
    if isinstance(theirs.size, list) and UNKNOWN in theirs.size:
        return
    meaning = "the teacher sees anatomy at another size than in its inference"
    yield _plain("size", "warning", theirs, ours, lambda facts: facts.size, meaning)


def _plain(
    check: Check,
    severity: Severity,
    theirs: ImageFacts,
    ours: ImageFacts,
    value: Callable[[ImageFacts], Any],
    meaning: str,
) -> Finding:
    shown = ["as it is" if value(facts) is None else str(value(facts)) for facts in (theirs, ours)]
    return Finding(check, severity, shown[0], shown[1], meaning)
