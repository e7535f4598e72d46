# SPDX-License-Identifier: Apache-2.0
"""The command line: quick help, and one clear line with exit code 2 for a user's mistake."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from dataclasses import fields

import pytest
from cli_tools import distil, fails_with, make_pair, write_case

from akd_monai.__main__ import main, user_error
from akd_monai._cli.door import VERBS
from akd_monai._cli.help import argument_help
from akd_monai._cli.source import argument_texts, read_arguments
from akd_monai._cli.words import with_joined_lists
from akd_monai.errors import InputError


@pytest.fixture
def bundles(tmp_path):
    return make_pair(tmp_path)


HELP = """
import sys
from akd_monai.__main__ import main
for command in {commands}:
    try:
        main(command)
    except SystemExit as stop:
        assert stop.code == 0, command
sys.exit(any(name in sys.modules for name in ("torch", "monai", "mlflow", "numpy")))
"""


@pytest.mark.parametrize(
    "commands",
    [[["--help"]], [["-h"]], [[]], [[verb, "--help"] for verb in VERBS], [["demo", "--epochs=3", "-h"]]],
    ids=["--help", "-h", "nothing", "every verb", "after a flag"],
)
def test_help_ends_with_0_and_loads_nothing_heavy(commands):
    code = HELP.format(commands=commands)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for verb in VERBS:
        assert f"{verb} " in done.stdout or len(commands) == 1


def test_overview_names_every_verb(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {words[0] for words in lines if words} >= set(VERBS)


def public(target):
    module, _, name = target.partition(":")
    found = importlib.import_module(module)
    assert name in found.__all__
    return getattr(found, name)


def parameters(function):
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {n: p for n, p in inspect.signature(function).parameters.items() if p.kind not in kinds}


# arguments that a verb has beside those of the public function, and what they stand for there
OWN = {
    "bundles": {"output_dir"},
    "distill": {"dataset_dir", "student_layer", "teacher_layer", "teacher_cache", "trust_teacher"},
    "evaluate": {"dataset_dir", "sites"},
    "experiment": {"dry_run", "list", "show"},
    "export": {"int8", "bf16", "fp16", "dataset_dir", "calibration_cases"},
    "profile": {"json", "end_to_end", "engines", "volume"},
    "segment": {"quiet"},
}


# arguments that stand for something else where another flag is given
OF_TWO_KINDS = {"profile": {"repeats"}}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_agrees_with_its_public_function(verb):
    door = VERBS[verb]
    function = public(door.target)
    ours, theirs = parameters(door.run), parameters(function)
    assert set(ours) - set(theirs) == OWN.get(verb, set())
    empty = (None, (), "")  # no names at all
    shared = (ours.keys() & theirs.keys()) - OF_TWO_KINDS.get(verb, set())
    for name in shared:
        same = ours[name].default == theirs[name].default
        assert same or (ours[name].default in empty and theirs[name].default in empty), name
    # what help shows is the function's text; a text of the verb's own is about what the function does not have
    documented = read_arguments(inspect.getdoc(function))
    assert documented == argument_texts(door.target)
    shown = argument_help(door)
    assert all(shown.values()), shown
    for name in shared:
        assert shown[name] == documented[name]


def test_help_of_the_demo_shows_every_setting(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for field in fields(public("akd_monai.experiments:DemoSettings")):
        assert [line for line in lines if line.startswith(f"  --{field.name}")], field.name
    assert "  --epochs (default 12)" in lines


def test_help_of_flipped_labels_says_what_the_function_takes(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert "patient IDs whose masks must be reversed along the slice axis" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["prepare", "folder", "--input", "no/such", "--output=new"], "--input is now --input_dir"),
        (["verify", "no/such", "--output", "new"], "--output is now --output_dir"),
        (["demo", "--data=no/such", "--output_dir=new"], "--data is now --dataset_dir"),
        (["profile", "no/such", "--output", "new.md"], "--output is now --output_file"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_old_words_are_accepted_with_a_hint(command, hint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert f"akd_monai: {hint}; the old name will be removed.\n" in text
    # the value arrived: what it names does not exist
    assert "no/such" in text.splitlines()[-1]


def test_values_of_a_list_are_joined_wherever_it_stands():
    wanted = ["--output_type=nifti,dicom_seg", "--input", "t2"]
    assert with_joined_lists(["--output_type=nifti", "dicom_seg", "--input", "t2"], ["output_type"]) == wanted
    assert with_joined_lists(["--input", "t2", "--output_type=nifti", "dicom_seg"], ["output_type"]) == [
        *wanted[1:], wanted[0],
    ]  # fmt: skip


def test_an_old_and_a_new_word_together_are_refused(capsys):
    line = fails_with(capsys, "prepare", "folder", "--input=a", "--input_dir=b", "--output_dir=c")
    assert line == "akd_monai: --input is the old name of --input_dir, and both are given; leave --input out."


@pytest.mark.fault(
    "Wrong input",
    "numbers where names are expected",
    injected="`check 5` and others",
    outcome="one line",
)
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["check", "5"], "must be a path, got 5"),
        (["evaluate", "--bundle=5"], "must be a path, got 5"),
        (["distill", "--teacher=5", "--student=5"], "teacher_bundle must be a folder or a list of folders, got 5"),
        (["new_bundle", "--name=mine", "--network=5"], "'5' does not exist"),
        (["assemble", "5"], "unknown part '5'"),
        (["profile", "5"], "must be a path, got 5"),
        (["assemble", "--bundles_dir=5"], "bundles_dir must be a path, got 5"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_numbers_for_names_are_told(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails_with(capsys, *command)


def test_an_unknown_part_of_the_data_is_told(bundles, capsys):
    line = fails_with(capsys, "evaluate", f"--bundle={bundles[0]}", "--part=tets")
    assert "part must be one of 'test', 'validation', 'training', got 'tets'. Did you mean 'test'" in line


def test_a_number_for_a_site_is_told(bundles, capsys):
    teacher, _, data = bundles
    line = fails_with(capsys, "evaluate", f"--bundle={teacher}", f"--dataset_dir={data}", "--sites=5")
    assert "unknown site '5'" in line


@pytest.mark.parametrize(
    "command",
    [
        ["assemble", "enet"],
        ["new_bundle", "--name=mine", "--network=BasicUNet", "--network_args={'features': [4,4,4,4,4,4]}", "--high=down_3",
         "--spatial_size=32"],
    ],
    ids=["assemble", "new_bundle"],
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_named(command, capsys, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    line = fails_with(capsys, *command, f"--bundles_dir={tmp_path / 'file'}")
    assert str(tmp_path / "file") in line


def test_unknown_verb_ends_with_2():
    with pytest.raises(SystemExit) as stop:
        main(["distil"])
    assert stop.value.code == 2


def test_unknown_loss(bundles, capsys):
    line = fails_with(capsys, *distil(bundles, "--terms=logits,afinity"))
    assert "unknown loss 'afinity' in this overlay. Did you mean 'affinity'?" in line


def test_tap_that_does_not_exist_lists_near_matches(bundles, capsys):
    line = fails_with(capsys, *distil(bundles, "--student_layer=stage33"))
    assert "unknown layer 'stage33' in ENet. Did you mean" in line
    assert "'stage3'," in line


@pytest.mark.fault(
    "Wrong input",
    "a teacher without weights",
    injected="`model.pt` is deleted",
    outcome="exit code 2, one line with the remedy",
)
def test_teacher_without_weights(bundles, capsys):
    (bundles[0] / "models" / "model.pt").unlink()
    assert "has no weights (models/model.pt): train it first" in fails_with(capsys, *distil(bundles))


def test_folder_without_cases(bundles, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    line = fails_with(capsys, *distil((*bundles[:2], tmp_path / "empty")))
    assert str(tmp_path / "empty") in line


def test_image_without_mask(bundles, capsys):
    write_case(bundles[2], "I2CVB", "Case07", mask=False)
    line = fails_with(capsys, *distil(bundles))
    assert "Case07" in line


@pytest.mark.fault(
    "Wrong input",
    "a truncated volume is given to `distill`",
    injected="cut after 600 bytes",
    outcome="exit code 2, one line names it",
)
def test_truncated_volume_is_named(bundles, capsys):
    path = bundles[2] / "I2CVB" / "Case01.nii.gz"
    path.write_bytes(path.read_bytes()[:600])
    path = bundles[2] / "I2CVB" / "Case00.nii.gz"
    path.write_bytes(path.read_bytes()[:600])
    line = fails_with(capsys, *distil(bundles))
    assert "Case0" in line


@pytest.mark.fault(
    "Wrong input",
    "an override with a typing slip",
    injected="`--epohcs=3`",
    outcome="one line with what was meant",
)
def test_misspelt_override_is_refused(bundles, capsys):
    assert "unknown config id 'epohcs'. Did you mean 'epochs'" in fails_with(capsys, *distil(bundles, "--epohcs=3"))


def test_bundle_that_does_not_exist(bundles, capsys):
    line = fails_with(capsys, "evaluate", "--bundle=no/such", f"--dataset_dir={bundles[2]}")
    assert "bundle folder 'no/such' does not exist" in line


def test_evaluation_without_weights(bundles, capsys):
    line = fails_with(capsys, "evaluate", f"--bundle={bundles[1]}", f"--dataset_dir={bundles[2]}")
    assert "the weights do not exist; train the bundle first" in line


def test_unknown_setting_of_the_demo(capsys, tmp_path):
    line = fails_with(capsys, "demo", f"--output_dir={tmp_path}", "--epoch=3")
    assert "unknown setting 'epoch' of the demo. Did you mean 'epochs'" in line


def raised(second, *, how, module="akd_monai.somewhere"):
    """Return ``second`` as raised in ``module`` while a user's mistake was being handled."""
    code = f"try:\n    raise mistake\nexcept Exception as error:\n    raise second{how}\n"
    with pytest.raises(type(second)) as caught:
        exec(code, {"mistake": InputError("the mistake"), "second": second, "__name__": module})
    return caught.value


def test_user_error_is_found_behind_wrapped_errors():
    wrapped = raised(RuntimeError("failed to evaluate"), how=" from error")
    assert str(user_error(wrapped)) == "the mistake"
    assert user_error(RuntimeError("a bug")) is None


def test_an_error_of_the_program_while_a_mistake_is_handled_stays_one():
    assert user_error(raised(TypeError("a bug"), how="")) is None
    assert user_error(raised(TypeError("a bug"), how=" from None")) is None
    assert user_error(raised(TypeError("a bug"), how=" from None", module="monai.bundle.x")) is None


def test_what_monai_raises_in_place_of_a_mistake_is_followed():
    error = raised(RuntimeError("failed"), how="", module="monai.bundle.config_item")
    assert str(user_error(error)) == "the mistake"


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch):
    def broken(*_):
        try:
            raise InputError("a mistake")
        except InputError:
            raise TypeError("a bug") from None

    monkeypatch.setattr("akd_monai.bundle.find_code", lambda _: [])
    monkeypatch.setattr("akd_monai.bundle.find_problems", broken)
    with pytest.raises(TypeError, match="a bug"):
        main(["check", "somewhere"])
