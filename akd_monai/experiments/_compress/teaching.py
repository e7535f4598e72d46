# SPDX-License-Identifier: Apache-2.0
"""What is known of a teacher: whether its data have sites, which cases it has learned from, which are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akd_monai.bundle import read_metadata
from akd_monai.bundle._class_names import class_count, class_names
from akd_monai.data import datalist
from akd_monai.data.cases import read_cases
from akd_monai.errors import InputError
from akd_monai.experiments._compress.request import Request
from akd_monai.experiments._plan.bundles import Configs, configs_of
from akd_monai.files import read_json, sha256_of

__all__ = ["Teaching", "read_teaching", "same_task"]

_RECORD = Path("eval", "training.json")
_UNKNOWN = "it may have learned from cases on which it is tested here"
_FOLDS = 4
_SEEN = "seen"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Teaching:
    """What a teacher is, and on which cases its students learn and are tested.

    Args:
        has_sites: whether its configs split prepared cases by site, as the bundles of this package do.
        spatial_size: of its slices, where it has sites.
        split: config ids that say which cases students learn from and are tested on; none without sites.
        sources: the teacher's sites at which students can be pre-trained.
        test_images: the held-out images, where they are known.
        cautions: what a reader of the results must know.
    """

    has_sites: bool
    spatial_size: Sequence[int] | None = None
    split: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    test_images: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def read_teaching(request: Request) -> Teaching:
    """Find out how the teacher's students can learn.

    Raises:
        InputError: if there are no data, too few cases, or the teacher has learned from test cases; for a split or a seed
            of which a teacher without sites would make nothing.
    """
    configs = _with_sites(request.teacher)
    if configs is None:
        _refuse_split(request)
        caution = (
            "The teacher’s own configs say which cases are evaluated; whether it has learned from them is not known."
        )
        return Teaching(has_sites=False, cautions=(caution,))
    record, cautions = _record(request)
    present = list(dict.fromkeys(case["site"] for case in read_cases(request.dataset_dir)))
    learned = [site for site in record.get("sites", ()) if site in present]
    elsewhere = [site for site in present if site not in learned]
    targets = list(request.sites or elsewhere or present)
    split = _split(request, record, targets, learned)
    held_out = _held_out(request, split)
    return Teaching(
        has_sites=True,
        spatial_size=_size(request, record, configs),
        split=split,
        sources=tuple(site for site in learned if site not in targets),
        test_images=tuple(str(case["image"]) for case in held_out),
        cautions=(*cautions, *_seen(request, record, held_out)),
    )


def _with_sites(teacher: Path) -> Configs | None:
    try:
        return configs_of(str(teacher), student=False)
    except InputError:
        # a bundle that reads its data in its own way
        return None


def _refuse_split(request: Request) -> None:
    given = [name for name in ("sites", "folds", "fold") if getattr(request, name) is not None]
    given += ["seed"] if request.seed else []
    if given:
        raise InputError(
            f"{' and '.join(given)} would have no effect: the teacher's own configs say what its students learn from",
            where=f"bundle {str(request.teacher)!r}",
            remedy="leave that out, and set it in these configs",
        )


def _record(request: Request) -> tuple[Mapping[str, Any], list[str]]:
    """Return what the teacher's training says of itself, if it is the training of these weights."""
    file = request.teacher / _RECORD
    if not file.is_file():
        return {}, [f"The teacher has no {_RECORD.as_posix()}: {_UNKNOWN}."]
    record: dict[str, Any] = read_json(file)
    if record.get("weights_sha256") != sha256_of(request.weights):
        return {}, [f"The teacher’s {_RECORD.as_posix()} is of other weights: {_UNKNOWN}."]
    return record, []


def _split(
    request: Request, record: Mapping[str, Any], targets: Sequence[str], learned: Sequence[str]
) -> dict[str, Any]:
    # at its own sites the teacher's split is continued, so that its test cases stay test cases
    is_same = bool(set(targets) & set(learned)) and record.get("folds") is not None
    before = record if is_same else {}
    folds = before.get("folds", _FOLDS) if request.folds is None else request.folds
    fold = before.get("fold", 0) if request.fold is None else request.fold
    return {"sites": list(targets), "folds": folds, "fold": fold, "split_seed": before.get("split_seed", 0)}


def _held_out(request: Request, split: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = {"sites": split["sites"], "seed": split["split_seed"], "fold": split["fold"], "folds": split["folds"]}
    return datalist(request.dataset_dir, "test", **given)


def _seen(request: Request, record: Mapping[str, Any], held_out: Sequence[Mapping[str, Any]]) -> list[str]:
    """Refuse test cases that the teacher has learned from, or say so where that is accepted."""
    names = [str(case["case_id"]) for case in held_out]
    seen = [name for name in names if name in record.get("case_ids", ())]
    chose = [name for name in names if name in record.get("validation_case_ids", ())]
    cautions = []
    if seen and _SEEN not in request.allow:
        more = ", ..." if len(seen) > _MOST_NAMED else ""
        raise InputError(
            f"the teacher has learned from {len(seen)} of {len(names)} test cases ({', '.join(seen[:_MOST_NAMED])}{more})",
            where=f"bundle {str(request.teacher)!r}",
            remedy="name other sites (--sites), train the teacher with --folds, or say --allow seen",
        )
    if seen:
        cautions.append(
            f"The teacher has learned from {len(seen)} of {len(names)} test cases; its scores are too good."
        )
    if chose:
        cautions.append(f"{len(chose)} of {len(names)} test cases chose the teacher’s weights as validation cases.")
    return cautions


def _size(request: Request, record: Mapping[str, Any], configs: Configs) -> Sequence[int] | None:
    given = request.settings.get("spatial_size") or record.get("spatial_size")
    found = given or configs["train.json"].get().get("spatial_size")
    return list(found) if isinstance(found, (list, tuple)) else None


def same_task(teacher: Path, student: Path) -> bool:
    """Return whether two bundles have equally many channels and the same classes."""
    return _task(teacher) == _task(student)


def _task(bundle: Path) -> tuple[Any, ...]:
    inputs = read_metadata(bundle)["network_data_format"]["inputs"]
    channels = [entry.get("num_channels") for entry in inputs.values()]
    sides = [len(entry.get("spatial_shape", ())) for entry in inputs.values()]
    return channels, sides, class_count(bundle), class_names(bundle)
