# SPDX-License-Identifier: Apache-2.0
"""The demo at a size that takes seconds a step: stopped, continued, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import mlflow
import pytest
from warm_python import WarmPython

SMALL = [
    "--size=32", "--features=4,4,8,8,8", "--epochs=1", "--teacher_epochs=1", "--samples_per_epoch=4", "--batch_size=2",
    "--cases_per_site=8", "--slices=4", "--sources=RUNMC",
]  # fmt: skip


# the interpreter of the commands that the demo starts may be one that has imported everything
PROGRAM = "import sys; sys.executable = sys.argv.pop(1); from akd_monai.__main__ import main; main()"


def command(folder, python=sys.executable):
    return [sys.executable, "-W", "ignore", "-c", PROGRAM, str(python), "demo", f"--output_dir={folder}", *SMALL]


@pytest.mark.fault(
    "Stopped runs",
    "Ctrl-C during the demo",
    injected="the signal goes to the terminal's group",
    outcome="exit code 130, no traceback; the same command resumes",
)
@pytest.mark.slow
def test_demo_is_stopped_by_ctrl_c_and_resumed(tmp_path):
    folder, environment = tmp_path / "out", {**os.environ, "OMP_NUM_THREADS": "1"}
    # a shell without a terminal starts what is in its background with Ctrl-C ignored, which children inherit
    with subprocess.Popen(
        command(folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        while not (folder / "steps.json").exists() and process.poll() is None:
            time.sleep(0.05)
        # as a terminal does: to the group in the foreground
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate()[0]
    assert process.returncode == 130, output[-3000:]
    assert "Stopped. The same command resumes from here" in output
    assert "Traceback" not in output
    with WarmPython() as warm:
        resumed = command(folder, warm.bin / "python")
        done = subprocess.run(resumed, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Teacher (UNet++) at RUNMC: done before" in done.stdout

    results = json.loads((folder / "report" / "results.json").read_text())
    assert results["data"]["kind"] == "synthetic"
    assert [s["role"] for s in results["systems"]] == ["teacher", "baseline", "distilled", "distilled"]
    assert results["systems"][3]["label"] == "Student (ENet) distilled, recipe unlabelled"
    assert results["settings"]["labelled_cases"] == 1
    # four trainings and four evaluations, a teacher that is adapted and a student that is pre-trained
    assert len(results["commands"]) == 10
    assert any("pre-trained at the source sites" in sentence for sentence in results["warnings"])
    page = (folder / "report" / "index.html").read_text()
    assert "Synthetic data" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlruns.db'}")
    runs = mlflow.search_runs(experiment_names=["demo"])
    assert len(runs) == 6
    assert runs["metrics.loss/affinity"].notna().sum() == 1
    assert runs["metrics.loss/unlabelled"].notna().sum() == 1
    assert "Too few cases to tell" in done.stdout
    assert "To see a gain of 0.02 Dice takes at least 6 test cases" in done.stdout
    hashes = {s["profile"]["checkpoint_sha256"] for s in results["systems"]}
    assert hashes < set(runs["tags.checkpoint_sha256"])


@pytest.mark.fault(
    "Disk, memory and processes",
    "the demo is killed",
    injected="SIGKILL to the parent",
    outcome="no training is left behind",
)
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="skipped: only Linux tells a process that its parent was killed")
def test_a_killed_demo_leaves_no_training_behind(tmp_path):
    code = (
        "import sys, pathlib; from akd_monai.experiments._steps import Steps\n"
        "Steps(pathlib.Path(sys.argv[1]), {}).run('wait', ['-c', "
        '\'import os, time; open("pid", "w").write(str(os.getpid())); time.sleep(60)\'], pathlib.Path(sys.argv[1]))'
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.DEVNULL) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.02)
        child = int((tmp_path / "pid").read_text())
        process.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the command outlived the demo")
