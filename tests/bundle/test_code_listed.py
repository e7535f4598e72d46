# SPDX-License-Identifier: Apache-2.0
"""What `check` says that a bundle would run, and what it takes for harmless."""

from __future__ import annotations

import contextlib
import sys

import pytest
from trust_tools import PLAIN

from akd_monai.__main__ import main
from akd_monai.bundle import find_code, find_problems


def net(**arguments):
    return {**PLAIN, **arguments}


LISTED = {
    "imports": (["$import evilnet"], "foreign code: inference.json: imports::0: '$import evilnet'"),
    "handler": (
        {"_target_": "evil.scripts.net.Net"},
        "foreign code: inference.json: handler: target 'evil.scripts.net.Net'",
    ),
    "run": (["$__import__('os').system('ls')"], "reaches out: inference.json: run::0: \"$__import__('os')"),
    "loaded": ({"_target_": "torch.hub.load"}, "reaches out: inference.json: loaded: target 'torch.hub.load'"),
    "mode": ({"_target_": "torch.nn.ReLU", "_mode_": "debug"}, "foreign code: inference.json: mode: _mode_ 'debug'"),
    "sum": ("$1 + 1", "expressions: 1 that compute values, in inference.json (1)"),
    "far": ("%other.json::evil", "reaches out: inference.json: far: "),
    "colour \x1b[31m": ("$import evilnet", "foreign code: inference.json: colour ?[31m: '$import evilnet'"),
}


# each once written so that a search for words in the line as it stands does not find what it does
HIDDEN = [
    """$f'{__import__("os").system("ls")}'""",
    """$"\\'" + open("x").read() + "\\'\"""",
    "$\uff45\uff56\uff41\uff4c('1')",
    "$vars(torch.serialization)['o' + 's']",
    "$torch.ops.load_library('x')",
    "$torch.zeros(1).numpy().tofile('x')",
    "$monai.utils.optional_import('evilnet')",
    "$from torch.hub import load_state_dict_from_url as relu",
    {"_target_": "monai.utils.optional_import", "module": "evilnet"},
    {"_target_": "numpy.fromfile", "file": "x"},
    "$(not python",
]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_reaches_out_is_named_however_it_is_written(canary, hidden):
    canary.write({"network_def": PLAIN, "hidden": hidden})
    assert [line for line in find_code(canary.bundle) if line.startswith("reaches out: inference.json: hidden: ")]
    canary.assert_silent()


@pytest.mark.parametrize("import_", ["$import\\\nevilnet", "$\x0cfrom evilnet import a", "$from . import a"])
def test_a_foreign_import_is_named_however_it_is_written(canary, import_):
    canary.write({"network_def": PLAIN, "hidden": import_})
    assert [line for line in find_code(canary.bundle) if line.startswith("foreign code: inference.json: hidden: ")]
    canary.assert_silent()


@pytest.mark.parametrize(
    "harmless", ["$@a#b + @c::d", "$'import os' + \"open\"", "$@network_def.load_state_dict({})", "$import akd_monai"]
)
def test_what_computes_a_value_is_counted(canary, harmless):
    canary.write({"network_def": PLAIN, "harmless": harmless})
    assert find_code(canary.bundle)[-1] == "expressions: 1 that compute values, in inference.json (1)"


@pytest.mark.parametrize("name", LISTED)
def test_check_lists_what_would_run(canary, capsys, name):
    content, line = LISTED[name]
    canary.write({"network_def": PLAIN, name: content})
    assert any(found.startswith(line) for found in find_code(canary.bundle))
    # whatever else is wrong with the bundle must not keep the list back
    with contextlib.suppress(SystemExit):
        main(["check", str(canary.bundle)])
    assert f"{canary.bundle}: would run: {line}" in capsys.readouterr().out
    canary.assert_silent()


def test_an_overlay_is_read_with_what_it_changes(canary):
    canary.write({"network_def": PLAIN})
    configs = canary.bundle / "configs"
    (configs / "train.json").write_text('{"network_def": {"_target_": "BasicUNet"}, "train": {"x": "$1"}}')
    (configs / "distill.json").write_text(
        '{"train#x": {"_target_": "evilnet.Net"}, "network_def#_target_": "evilnet.Net"}'
    )
    found = find_code(canary.bundle)
    assert "foreign code: distill.json: train::x: target 'evilnet.Net' (not checked, would be imported)" in found
    assert any(line.startswith("network: distill.json: the target 'evilnet.Net'") for line in found)
    (configs / "distill.json").write_text('{"nowhere#deep#_target_": "evilnet.Net"}')
    assert any("target 'evilnet.Net'" in line for line in find_code(canary.bundle))
    canary.assert_silent()


def test_a_long_list_is_cut(canary):
    canary.write({"network_def": PLAIN, "many": [f"$import evil{n}" for n in range(30)]})
    found = [line for line in find_code(canary.bundle) if line.startswith("foreign code")]
    assert len(found) == 9
    assert found[-1] == "foreign code: and 22 more"


def test_unknown_targets_of_installed_packages_are_still_problems(canary):
    canary.write({"network_def": PLAIN, "a": {"_target_": "monai.losses.NoLoss"}, "b": {"_target_": "evilnet.NoNet"}})
    problems = find_problems(canary.bundle)
    assert "inference.json: a: 'monai.losses.NoLoss' does not exist" in problems
    assert not any("evilnet" in problem for problem in problems)


def test_a_program_among_the_installed_modules_is_not_started(canary):
    # importing it runs f2py
    canary.write({"network_def": PLAIN, "a": {"_target_": "numpy.f2py.__main__.main"}})
    assert canary.attack() == ""
    assert "numpy.f2py.__main__" not in sys.modules


def test_an_id_that_leads_nowhere_is_one_line(canary):
    canary.write({"network_def": PLAIN, "a": "text", "a#b#c": 1})
    assert "sets an id that leads nowhere" in canary.attack()
    assert any("sets an id that leads nowhere" in problem for problem in find_problems(canary.bundle))


def test_relative_references_and_macros_are_no_problems(canary):
    canary.write({"network_def": net(out_channels="@##classes", features="%widths"), "classes": 2, "widths": [4] * 6})
    assert not any(
        "network_def" in problem or "cannot be resolved" in problem for problem in find_problems(canary.bundle)
    )
