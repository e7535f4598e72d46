# SPDX-License-Identifier: Apache-2.0
"""A user's mistake ends MONAI's command line with one line; other programs and other errors stay as they are."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WORDS = "akd_monai: Case00.nii.gz: has 0 bytes; copy it again."
MISTAKE = "raise akd_monai.errors.InputError('has 0 bytes', where='Case00.nii.gz', remedy='copy it again')"


def run_config(folder, expression: str, options=("-m", "monai.bundle", "run", "--config_file", "run.json")):
    imports = ["$import akd_monai", "$import akd_monai.errors"]
    (folder / "run.json").write_text(json.dumps({"imports": imports, "run": [expression]}))
    return subprocess.run(
        [sys.executable, "-W", "ignore", *options], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.fault(
    "Wrong input",
    "a mistake through `python -m monai.bundle run`",
    injected="an expression of a config raises it",
    outcome="the last line is the mistake, exit code 2",
)
@pytest.mark.slow
def test_the_last_line_under_monai_is_the_mistake(tmp_path):
    done = run_config(tmp_path, f"$exec({MISTAKE!r})")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == WORDS
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_other_errors_keep_their_traceback(tmp_path):
    done = run_config(tmp_path, "$exec('raise TypeError(1)')")
    assert done.returncode == 1
    assert "TypeError: 1" in done.stderr
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_other_programs_are_not_changed(tmp_path):
    done = run_config(tmp_path, "", options=("-c", f"import akd_monai.errors; {MISTAKE}"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
