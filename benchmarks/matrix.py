# SPDX-License-Identifier: Apache-2.0
"""How long the paper's Table 2 takes on this device, from the time of each kind of step in it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from akd_monai.data import protocol_splits
from akd_monai.data.sites import SITES
from akd_monai.data.views import VIEWS
from akd_monai.prostate.phantom import ACQUISITIONS
from akd_monai.teachers.online import OnlineTeacher
from akd_monai.teachers.options import TeacherOptions
from benchmarks.common import Goal, Result, Settings, interleaved, short
from benchmarks.losses import STUDENTS
from benchmarks.step import TEACHERS, TrainerStep, decided, make_batches

CONFIG = Path(__file__).parents[1] / "bundles" / "prostate_mri_enet" / "configs" / "train.json"
# Cases a site and slices a case: as `akd_monai phantom` makes them by default, and as the real set has them.
SMALL, WHOLE = (6, 10), (None, None)
GOAL = "GPU: hours for the paper's Table 2 at 384 x 384 on the phantom of 36 cases"


def training_slices(part: str, phantom: tuple[int | None, int | None]) -> dict[str, int]:
    """Return for each target site the slices of one part of its ``cross_site`` protocol, on a synthetic set."""
    each, depth = phantom
    cases = [{"site": s.name, "case_id": f"{s.name}/Case{n:02}"} for s in SITES for n in range(each or s.cases)]
    found = {}
    for place in SITES:
        parts = protocol_splits(cases, place.name)[0]["cases"]
        chosen = [case["site"] for case in cases if parts[case["case_id"]] == part]
        found[place.name] = sum(depth or ACQUISITIONS[site].slices for site in chosen)
    return found


def plan(phantom: tuple[int | None, int | None]) -> dict[str, int]:
    """Return how often each kind of step is done: epochs and batches as in the bundles, one fold a site.

    Every slice counts, also those without gland that a training leaves out.
    """
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    epochs, batch = config["epochs"], config["batch_size"]
    taught, learnt = training_slices("teacher_training", phantom), training_slices("training", phantom)
    student_steps = epochs * sum(max(1, count // batch) for count in learnt.values())
    steps = {f"{name} trained": epochs * sum(count // batch for count in taught.values()) for name in TEACHERS}
    steps |= {f"{name} looks at a view": VIEWS * sum(learnt.values()) for name in TEACHERS}
    steps |= {f"{name} alone": student_steps for name in STUDENTS}
    steps |= {f"{name} from {teacher}": student_steps for name in STUDENTS for teacher in TEACHERS}
    return steps


def run(settings: Settings) -> Result:
    """Measure every kind of step and add up."""
    result = Result(
        "The paper's Table 2, by the time of its steps",
        "Three students alone and from two teachers at six sites, with the teachers: how often each kind of step is done on "
        "SYNTHETIC sets of 36 cases (10 slices each) and of 116 at 384 x 384 (batches of 16, 100 epochs, one fold a site, "
        "teachers' maps kept), times the seconds of one step by automatic mixed precision. Reading data and validation are "
        "not in it.",
        ["step", "ms", "times, 36 cases", "hours", "times, 116 cases", "hours"],
    )
    if settings.device != "cuda" and not settings.quick:
        why = "there is no GPU in this machine; results/full-width.md has the hours by the steps of one"
        result.goals.append(Goal(GOAL, 1.0, None, at_most=True, floor=why))
        result.notes.append("Not measured: a step of UNet++ on 16 slices takes minutes on a CPU.")
        return result
    folder = Path(tempfile.mkdtemp(prefix="akd_benchmark_"))
    try:
        timing = interleaved(_works(settings, folder), settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    plans = [plan(SMALL), plan(WHOLE)]
    hours = [{name: count * timing[name].median / 3600 for name, count in steps.items()} for steps in plans]
    for name in plans[0]:
        counted = [
            text for steps, each in zip(plans, hours, strict=True) for text in (str(steps[name]), short(each[name]))
        ]
        result.rows.append([name, timing[name].text(), *counted])
    small, whole = (sum(each.values()) for each in hours)
    result.rows.append(["all", "", "", short(small), "", short(whole)])
    if settings.device == "cuda":
        result.goals.append(Goal(GOAL, 1.0, small, at_most=True, floor="the teachers' training is most of it"))
    return result


def _works(settings: Settings, folder: Path) -> dict[str, Callable[[], object]]:
    device, amp = torch.device(settings.device), settings.device == "cuda"
    batches = make_batches(2, 64) if settings.quick else make_batches(16, 384)
    works: dict[str, Callable[[], object]] = {}
    for name, (kind, layer) in TEACHERS.items():
        works[f"{name} trained"] = TrainerStep(name, batches, settings.device, amp=amp)
        torch.manual_seed(0)
        teacher = decided(kind(spatial_dims=2, in_channels=1, out_channels=2)).to(device).eval()
        looks = OnlineTeacher(teacher, [layer], TeacherOptions(), device, torch.float16 if amp else None)
        image = batches[0]["image"][:1].to(device)
        works[f"{name} looks at a view"] = lambda looks=looks, image=image: looks(image, None)  # type: ignore[misc]
        for student in STUDENTS:
            step = TrainerStep(student, batches, settings.device, (teacher, layer), {"cache_dir": folder}, amp)
            for _ in batches:
                step()  # so that the cache is full
            works[f"{student} from {name}"] = step
    return works | {f"{name} alone": TrainerStep(name, batches, settings.device, amp=amp) for name in STUDENTS}
