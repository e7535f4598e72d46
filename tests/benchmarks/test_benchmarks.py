# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run and compute what they claim; no test measures time."""

from __future__ import annotations

import functools
import importlib.util
import json
import operator
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from akd_monai.losses import affinity_loss
from akd_monai.networks.layers import VectorizedBatchNorm2d, VectorizedPReLU

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks import __main__ as command  # noqa: E402
from benchmarks import common, recycled  # noqa: E402
from benchmarks.affinity import naive  # noqa: E402
from benchmarks.measure import measure_apart  # noqa: E402
from benchmarks.page import goals, page  # noqa: E402


def benchmarks(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550)


def test_a_quick_run_writes_nothing(tmp_path):
    # they train the large networks, and compare masks as the tests of export do
    names = [name for name in command.NAMES if name not in ("step", "segment_masks")]
    done = benchmarks(*names, "--quick", "--results", str(tmp_path / "results"), "--page", str(tmp_path / "page.md"))
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    titles = (
        "Affinity loss, forward and backward",
        "Affinity loss against its usual form, and page faults",
        "Triton kernel",
        "by batch, size and window",
        "Gram loss",
        "losses in the student's step",
        "faster PReLU and batch normalization",
        "Teacher cache",
        "rows of a teacher cache",
        "Feeding a training",
        "torchdistill",
        "From a volume to its mask",
    )
    for title in titles:
        assert title in done.stdout


def test_results_are_kept_by_name_and_the_page_follows_them(tmp_path, monkeypatch, capsys):
    def run(_):
        return common.Result(
            "A title", "About it.", ["way", "ms"], [["ours", "1"]], [common.Goal("g", 2, 1, floor="f")]
        )

    monkeypatch.setattr("benchmarks.affinity.run", run)
    folder = ["--results", str(tmp_path / "results"), "--page", str(tmp_path / "page.md")]
    (tmp_path / "results").mkdir()
    file = tmp_path / "results" / f"{common.machine_name('cpu')}.json"
    old = {**command.measure("affinity", common.Settings()), "title": "Older"}
    file.write_text(json.dumps({"pipeline": old}))
    threads = torch.get_num_threads()
    try:
        assert command.main(["affinity", *folder]) == 0
    finally:
        torch.set_num_threads(threads)
    stored = json.loads(file.read_text())
    assert list(stored) == ["affinity", "pipeline"]
    assert set(stored["affinity"]["machine"]) >= {"cpu", "torch", "threads"}
    text = (tmp_path / "page.md").read_text()
    assert text == page(stored)
    assert "## A title" in text
    assert "## Older" in text
    assert "| g | at least 2 | 1 | **missed** |" in text
    assert "- g (1, at least 2 wanted): f." in text
    assert "A title" in capsys.readouterr().out


def test_the_committed_page_is_that_of_the_committed_results():
    for device, target in command.PAGES.items():
        files = sorted((ROOT / "benchmarks" / "results").glob(f"{device}-*.json"))
        assert files
        pages = [page(json.loads(file.read_text(encoding="utf-8"))) for file in files]
        assert target.read_text(encoding="utf-8") in pages


def test_an_unknown_name_is_said(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        command.main(["speed"])
    assert "there is no benchmark 'speed'; there is affinity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["affinity", "--public", "nowhere"], "nowhere holds no pytorch_loss/affinity_loss.py: give the folder"),
        (["affinity", "--rounds", "0"], "--rounds must be at least 1, got 0."),
        pytest.param(
            ["affinity", "--device", "cuda"],
            "--device cuda: PyTorch sees no GPU here; use --device cpu.",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="skipped: there is a CUDA device"),
        ),
    ],
)
def test_a_mistake_on_the_command_line(words, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        command.main(words)
    assert message in capsys.readouterr().err


def test_modules_of_pytorch_take_the_same_steps():
    from benchmarks.students import as_pytorch

    network = torch.nn.Sequential(
        VectorizedPReLU(3), torch.nn.Sequential(VectorizedPReLU(), VectorizedBatchNorm2d(3, eps=0.5, momentum=0.3))
    ).double()
    network[0].weight.data += torch.arange(3.0)
    network[1][1].running_mean += 1
    other = as_pytorch(network)
    assert [type(m) for m in other.modules()][1:] == [
        torch.nn.PReLU,
        torch.nn.Sequential,
        torch.nn.PReLU,
        torch.nn.BatchNorm2d,
    ]
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(other.double()(x), network(x))
    torch.testing.assert_close(other.state_dict(), network.state_dict())


def test_a_decided_teacher_follows_bright_regions():
    from benchmarks.step import decided

    image = torch.zeros(1, 1, 64, 64)
    image[..., 16:48, :] = 2
    labels = decided(torch.nn.Conv2d(1, 2, 1))(image).argmax(1)
    assert labels[:, 24:40].all()
    assert not labels[:, :8].any()
    assert not labels[:, 56:].any()


def test_the_naive_loss_is_the_loss():
    rng = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(2, 3, 7, 6, generator=rng), torch.randint(0, 3, (2, 7, 6), generator=rng)
    for kernel in (3, 5):
        torch.testing.assert_close(naive(scores, labels, kernel), affinity_loss(scores, labels, kernel=kernel))


def test_the_lean_loss_is_the_loss():
    from benchmarks.page_faults import lean

    rng = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(2, 3, 7, 6, generator=rng), torch.randint(0, 3, (2, 7, 6), generator=rng)
    for kernel in (3, 5):
        torch.testing.assert_close(lean(scores, labels, kernel), affinity_loss(scores, labels, kernel=kernel))


BLOCK = 64 << 20


@pytest.mark.skipif(not recycled.is_recycling_possible(), reason="skipped: the C library is not glibc")
def test_memory_that_is_recycled_costs_no_page_faults():
    touch = functools.partial(operator.mul, bytearray(b"\1"), BLOCK)
    # libraries that this process has loaded may have changed how it keeps memory
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        fresh = process.submit(recycled.page_faults, touch).result()
    # pages have 4 kB, or 2 MB where the system joins them
    assert BLOCK // (2 << 20) <= fresh <= 2 * BLOCK // 4096
    before = dict(os.environ)
    assert recycled.with_recycled_memory(recycled.page_faults, touch) < 8
    assert dict(os.environ) == before


def test_the_share_of_page_faults_is_what_recycled_memory_saves(monkeypatch):
    from benchmarks import page_faults

    def timing(seconds):
        return common.Timing(seconds, seconds, seconds, (seconds,))

    case = ((4, 64, 96, 96), 3, 0.0)
    fresh = ({"naive": timing(2.0), "lean": timing(1.5), "ours": timing(0.1)}, {"naive": 54321, "lean": 9, "ours": 12})
    kept = ({"naive": timing(0.6), "lean": timing(0.4), "ours": timing(0.1)}, {})
    monkeypatch.setattr(page_faults, "CASES", [case])
    monkeypatch.setattr(page_faults, "measured", lambda _: [fresh])
    monkeypatch.setattr(page_faults, "is_recycling_possible", lambda: True)
    monkeypatch.setattr(page_faults, "with_recycled_memory", lambda function, settings: [kept])
    result = page_faults.run(common.Settings())
    (row,) = result.rows
    shown = dict(zip(result.columns[6:], row[6:], strict=True))
    # the second of two columns of one name is that of fresh memory
    assert row[6:8] == ["6x", "4x"]
    assert shown["faster than naive"] == "20x"
    assert (shown["page faults naive"], shown["page faults ours"], shown["share"]) == ("54,321", "12", "70%")
    (goal,) = result.goals
    assert (goal.limit, goal.reached) == (30, False)


def test_a_process_of_its_own_measures_on_one_thread():
    found = measure_apart("page_faults", common.Settings(quick=True))
    assert found["machine"]["threads"] == 1
    assert len(found["rows"]) == 9


def test_the_public_loss_needs_its_file(tmp_path):
    from benchmarks.affinity import public_loss

    with pytest.raises(FileNotFoundError, match=r"holds no pytorch_loss/affinity_loss.py"):
        public_loss(tmp_path)


def test_unequal_results_are_not_timed():
    with pytest.raises(common.UnequalError, match=r"sum of halves: .*not close"):
        common.check_equal("sum of halves", torch.tensor(1.0), torch.tensor(1.1))


def test_peak_memory_counts_what_is_held_at_once():
    def work():
        first = torch.zeros(1000)
        second = first + 1
        del first
        return second * 2, torch.zeros(100)

    assert common.peak_bytes(work) == 8400


def test_rounds_take_turns_after_one_that_warms_up(monkeypatch):
    clock, calls = [0.0], []

    def work(name, seconds):
        calls.append(name)
        clock[0] += seconds

    monkeypatch.setattr(common.time, "process_time", lambda: clock[0])
    works = {"a": lambda: work("a", 0.02), "b": lambda: work("b", 0.1 + 0.1 * (len(calls) == 7))}
    timing = common.interleaved(works, common.Settings(rounds=3))
    # 50 ms hold two calls of a, and none of b
    assert "".join(calls) == "ab" + "aab" * 3
    assert timing["a"].median == pytest.approx(0.02)
    assert [timing["b"].low, timing["b"].median, timing["b"].high] == pytest.approx([0.1, 0.1, 0.2])
    assert common.times(timing["b"], timing["a"]) == pytest.approx(5)
    assert common.interleaved({"b": works["b"]}, common.Settings(quick=True))["b"].high == pytest.approx(0.1)


@pytest.mark.parametrize(("value", "at_most", "reached"), [(2, False, True), (1, False, False), (1, True, True)])
def test_goals(value, at_most, reached):
    goal = common.Goal("speed", 1.5, value, at_most)
    assert goal.reached is reached
    line = goals({"x": {"goals": [vars(goal) | {"reached": reached}]}})
    assert ("| reached |" in line) == reached
    assert "| speed |" in line
    assert ("**missed**" in line) != reached
    assert "at most 1.5" in line if at_most else "at least 1.5" in line


def test_a_goal_that_was_not_run_says_so():
    goal = common.Goal("speed on a GPU", 2, None, floor="there is none")
    assert goal.reached is None
    text = goals({"x": {"goals": [vars(goal) | {"reached": goal.reached}]}})
    assert "| speed on a GPU | at least 2 |  | **not run** |" in text
    assert "- speed on a GPU (not run, at least 2 wanted): there is none." in text


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="skipped: triton is not installed")
def test_the_kernel_compiles_for_a_gpu_without_spilling():
    from benchmarks.kernel import compiled, resources

    for channels, capability in ((2, 75), (64, 80), (2, 90), (64, 90), (64, 120)):
        used = resources(compiled(channels, radius=1, capability=capability))
        assert 0 < used["REG"] <= 255
        assert used["STACK"] <= 64


def test_the_steps_of_table_2_are_counted():
    from benchmarks.matrix import SMALL, plan, training_slices

    # Six cases of ten slices a site: five sites lend the teacher 5 of 6 cases each; of the target's, 2 are for testing
    # and 2 for validation.
    assert set(training_slices("teacher_training", SMALL).values()) == {250}
    assert set(training_slices("training", SMALL).values()) == {20}
    steps = plan(SMALL)
    assert steps["UNet++ trained"] == steps["DeepLabV3+ trained"] == 100 * 6 * (250 // 16)
    assert steps["UNet++ looks at a view"] == 8 * 6 * 20
    assert steps["ENet alone"] == steps["ENet from DeepLabV3+"] == 100 * 6 * 1
    assert len(steps) == 2 + 2 + 3 + 6
