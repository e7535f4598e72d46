# SPDX-License-Identifier: Apache-2.0
"""The machine file: its form, Parsl's names in it, and what is set where it says nothing."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments._pilots import _no_pilot_starts, pilots
from akd_monai.experiments._plan.machine import read_machine

pytest.importorskip("parsl", reason="the engine of experiments is Parsl")
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-on-a-cluster.md"


def machine(provider="LocalProvider", executor=None, **options):
    return {"provider": provider, "options": options, "executor": executor or {}}


def test_it_is_an_object_with_a_provider(tmp_path):
    path = tmp_path / "slurm.json"
    path.write_text('{"provider": "SlurmProvider", "options": {"partition": "gpu"}}')
    assert read_machine(path) == {"provider": "SlurmProvider", "options": {"partition": "gpu"}, "executor": {}}
    path.write_text('{"options": {}}')
    with pytest.raises(InputError, match="has no provider; name one of Parsl"):
        read_machine(path)
    path.write_text('{"provider": "SlurmProvider", "option": {}}')
    with pytest.raises(UnknownNameError, match=r"unknown entry 'option' of machine file .*Did you mean 'options'"):
        read_machine(path)
    path.write_text('{"provider": "SlurmProvider", "executor": 4}')
    with pytest.raises(InputError, match="executor must be an object, got 4"):
        read_machine(path)


WRONG = {
    "provider": (machine("SlurmProvder"), r"unknown provider 'SlurmProvder' in the machine file.*'SlurmProvider'"),
    "option": (
        machine("SlurmProvider", partitoin="gpu"),
        r"unknown option 'partitoin' of SlurmProvider in the machine file\. Did you mean 'partition'",
    ),
    "value": (
        machine("SlurmProvider", partition=3),
        r'does not fit SlurmProvider of Parsl: argument "partition" \(int\)',
    ),
    "executor": (
        machine(executor={"available_accelerator": 2}),
        r"unknown option 'available_accelerator' of HighThroughputExecutor .*'available_accelerators'",
    ),
    "the engine's own": (machine(executor={"provider": "x"}), r"unknown option 'provider' of HighThroughputExecutor"),
    "launcher": (machine(launcher="SrunLancher"), r"unknown launcher 'SrunLancher' .*Did you mean 'SrunLauncher'"),
    "launcher's option": (
        machine(launcher={"name": "SrunLauncher", "options": {"override": ""}}),
        r"unknown option 'override' of SrunLauncher .*'overrides'",
    ),
    "kubernetes": (
        machine("KubernetesProvider", image="i"),
        r"does not fit KubernetesProvider .*\['kubernetes'\].*pip",
    ),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_with_what_was_meant(content, message, monkeypatch):
    if content["provider"] == "KubernetesProvider":
        monkeypatch.setattr("parsl.providers.kubernetes.kube._kubernetes_enabled", False)
    with pytest.raises(InputError, match=message) as found:
        pilots(content)
    assert "\n" not in str(found.value)


def test_a_node_takes_one_cell_unless_the_file_says_otherwise():
    # on a machine of many cores, Parsl's own default would put a cell on each core, and all on the first GPU
    assert pilots(machine()).max_workers_per_node == 1
    assert pilots(machine(executor={"cores_per_worker": 4})).max_workers_per_node == float("inf")
    executor = pilots(machine(executor={"available_accelerators": 4}))
    assert executor.available_accelerators == ["0", "1", "2", "3"]
    assert executor.max_workers_per_node == float("inf")


def test_devices_can_be_grouped():
    executor = pilots(machine(executor={"available_accelerators": ["0,1", "2,3"]}))
    assert executor.available_accelerators == ["0,1", "2,3"]
    assert executor.workers_per_node == 2


def test_no_message_waits_for_ever_and_all_of_them_are_encrypted():
    executor = pilots(machine())
    assert (executor.heartbeat_period, executor.heartbeat_threshold, executor.encrypted) == (10, 40, True)
    changed = pilots(machine(executor={"heartbeat_threshold": 90, "worker_port_range": [50000, 50100]}))
    assert (changed.heartbeat_threshold, changed.worker_port_range) == (90, (50000, 50100))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the interchange ends by its heartbeat alone")
def test_what_passes_tasks_on_ends_with_the_experiment(monkeypatch):
    assert pilots(machine()).interchange_launch_cmd[:4] == ["setpriv", "--pdeathsig", "TERM", "setsid"]
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="the engine needs the program setpriv; install util-linux"):
        pilots(machine())


def job(state, stderr=None):
    from parsl.jobs.states import TERMINAL_STATES, JobState

    member = JobState[state]
    is_over = member in TERMINAL_STATES
    return SimpleNamespace(state=member, terminal=is_over, stderr_summary=stderr, stdout_summary=None, message=None)


@pytest.mark.parametrize(
    ("states", "gives_up"),
    [
        (["FAILED", "MISSING"], False),
        (["FAILED", "MISSING", "MISSING"], True),
        (["COMPLETED", "MISSING", "FAILED", "FAILED"], True),
        (["RUNNING", "FAILED", "FAILED", "FAILED"], False),
        (["MISSING", "MISSING", "COMPLETED"], False),
    ],
)
def test_pilot_jobs_that_never_start_a_worker_end_the_experiment(states, gives_up):
    failures = []
    executor = SimpleNamespace(run_dir="OUT/parsl/000", set_bad_state_and_fail_all=failures.append)
    _no_pilot_starts(executor, {str(number): job(state, "line 1\nno module") for number, state in enumerate(states)})
    assert len(failures) == gives_up
    for error in failures:
        assert re.match(r"machine file: 3 pilot jobs have ended .*: line 1 no module; .*'OUT/parsl/000'\.$", str(error))


def test_the_options_of_kubernetes_are_accepted(monkeypatch):
    """The client is an option of the installation, so that a stub stands for it."""
    import parsl.providers.kubernetes.kube as kube

    client = ModuleType("client")
    client.CoreV1Api = SimpleNamespace
    monkeypatch.setattr(kube, "_kubernetes_enabled", True)
    monkeypatch.setattr(kube, "client", client, raising=False)
    monkeypatch.setattr(kube, "config", SimpleNamespace(load_kube_config=lambda: None), raising=False)
    options = blocks()["KubernetesProvider"]
    provider = pilots(options).provider
    assert provider.extra_limits == {"nvidia.com/gpu": "1"}
    assert provider.persistent_volumes == [("data-claim", "/data")]


def blocks():
    """Return the machine files of the page, by provider; that of plain machines is a LocalProvider."""
    found = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    contents = [json.loads(block) for block in found]
    return {content["provider"]: content for content in contents}


@pytest.mark.parametrize("provider", ["SlurmProvider", "PBSProProvider", "LocalProvider"])
def test_what_the_page_shows_fits_parsl(provider, tmp_path):
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(blocks()[provider]))
    executor = pilots(read_machine(path))
    assert type(executor.provider).__name__ == provider
    assert executor.workers_per_node >= 1


def test_the_page_shows_four_kinds_of_machines():
    assert set(blocks()) == {"SlurmProvider", "PBSProProvider", "KubernetesProvider", "LocalProvider"}
