# SPDX-License-Identifier: Apache-2.0
"""Pilot jobs on a cluster, from Parsl's own names and options: only this module and ``_engine`` know Parsl."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai._faults import MACHINE_FAULT
from akd_monai.errors import InputError, check_mapping, one_line
from akd_monai.experiments._plan.machine import make_named, make_with

__all__ = ["check_passing", "pilots"]

# Linux: what passes tasks on ends with the experiment, and not by the Ctrl-C that the experiment itself answers
_INTERCHANGE = ["setpriv", "--pdeathsig", "TERM", "setsid", "interchange.py"]
# seconds after which workers and experiment give each other up
_HEARTBEAT = {"heartbeat_period": 10, "heartbeat_threshold": 40}
# pilot jobs in a row that may end before a worker is ready
_ATTEMPTS = 3
# options of the executor that say how many cells a node takes
_SIZES = {"available_accelerators", "max_workers_per_node", "cores_per_worker", "mem_per_worker"}


def pilots(machine: Mapping[str, Any]) -> Any:
    """Return Parsl's executor of a machine file: jobs on a cluster, whose workers take one cell after the other.

    Args:
        machine: content of the file, see :func:`~akd_monai.experiments._plan.machine.read_machine`.

    Raises:
        InputError: if an option does not fit Parsl's classes, or a program that the engine needs is missing.
        UnknownNameError: for a provider, launcher or option that Parsl does not have.
    """
    import parsl.providers
    from parsl.executors import HighThroughputExecutor

    options = dict(machine["options"])
    if "launcher" in options:
        options["launcher"] = _launcher(options["launcher"])
    provider = make_named("Provider", machine["provider"], parsl.providers, options)
    # Parsl finds its helpers there
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    given = {**_HEARTBEAT, **machine["executor"]}
    if not _SIZES & given.keys():
        # Parsl's own default is a worker for each core, all of which would use the same device
        given["max_workers_per_node"] = 1
    own = {"interchange_launch_cmd": _bound_to_this()} if sys.platform == "linux" else {}
    return make_with(HighThroughputExecutor, given, provider=provider, block_error_handler=_no_pilot_starts, **own)


def check_passing(executor: Any, kernel: Any) -> None:
    """Check that the process is there that passes cells to pilot jobs; without it nothing would ever be heard of them.

    Args:
        executor: that of :func:`pilots`; ``None`` where cells run on this machine.
        kernel: of Parsl, which is told not to wait for that process.

    Raises:
        InputError: if it has ended; the jobs have been cancelled then.
    """
    process = None if executor is None else executor.interchange_proc
    if process is None or process.poll() is None:
        return
    executor.provider.cancel(list(executor.blocks_to_job_id.values()))
    # its own cleanup would ask that process which jobs are idle, and wait for the answer for ever
    kernel.config.exit_mode = "skip"
    raise InputError(
        f"the process that passes cells to pilot jobs has ended with exit code {process.returncode}",
        remedy="start the same command again; if it is killed for its memory, do so on another machine",
        code=MACHINE_FAULT,
    )


def _launcher(given: Any) -> Any:
    """Make what starts the workers in a job, such as ``srun``; JSON gives its name, or its name and options."""
    import parsl.launchers

    if isinstance(given, str):
        return make_named("Launcher", given, parsl.launchers, {})
    entry = check_mapping("launcher of the machine file", given, ("name", "options"))
    return make_named("Launcher", entry.get("name", ""), parsl.launchers, entry.get("options", {}))


def _bound_to_this() -> list[str]:
    for program in ("setpriv", "setsid"):
        if shutil.which(program) is None:
            raise InputError(f"the engine needs the program {program}", remedy="install util-linux")
    return _INTERCHANGE


def _no_pilot_starts(executor: Any, status: Mapping[str, Any]) -> None:
    """Give up when the last pilot jobs have ended without a worker and no other runs or waits."""
    from parsl.jobs.states import JobState

    jobs = [status[block] for block in sorted(status, key=int)]
    last = jobs[-_ATTEMPTS:]
    useless = all(job.state in (JobState.FAILED, JobState.MISSING) for job in last)
    if len(last) < _ATTEMPTS or not useless or not all(job.terminal for job in jobs):
        return
    said = one_line(last[-1].stderr_summary or last[-1].stdout_summary or last[-1].message or "it wrote nothing")
    error = InputError(
        f"{_ATTEMPTS} pilot jobs have ended before a worker was ready; the last one: {said}",
        where="machine file",
        remedy=f"correct its options, worker_init above all; the jobs' scripts and logs are below {executor.run_dir!r}",
    )
    executor.set_bad_state_and_fail_all(error)
