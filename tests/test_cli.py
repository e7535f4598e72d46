# SPDX-License-Identifier: Apache-2.0
"""The command line: quick help, and one clear line with exit code 2 for a user's mistake."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from dataclasses import fields

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import FEATURES, small_bundle

from akd_monai.__main__ import main, user_error
from akd_monai._cli.door import VERBS
from akd_monai._cli.help import argument_help
from akd_monai._cli.source import argument_texts, read_arguments
from akd_monai.errors import InputError
from akd_monai.networks.nets import UNetPlusPlus


def write_case(root, site, name, mask=True):
    (root / site).mkdir(parents=True, exist_ok=True)
    volume = np.random.default_rng(0).normal(100, 20, (32, 32, 4)).astype(np.float32)
    gland = np.zeros(volume.shape, np.uint8)
    gland[10:20, 10:20] = 1
    nib.save(nib.Nifti1Image(volume, np.eye(4)), root / site / f"{name}.nii.gz")
    if mask:
        nib.save(nib.Nifti1Image(gland, np.eye(4)), root / site / f"{name}_segmentation.nii.gz")


@pytest.fixture
def bundles(tmp_path):
    """A teacher with drawn weights, a student, and two cases."""
    teacher, student = small_bundle("unetplusplus", tmp_path / "teacher"), small_bundle("enet", tmp_path / "student")
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), teacher / "models" / "model.pt")
    for number in range(2):
        write_case(tmp_path / "data", "I2CVB", f"Case{number:02}")
    return teacher, student, tmp_path / "data"


def fails_with(capsys, *command):
    """Run a verb that must end with code 2 and return the single line on stderr."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, command)))
    assert stop.value.code == 2
    text = capsys.readouterr().err.strip()
    line = text.splitlines()[-1]
    assert line.startswith("akd_monai: ")
    assert "Traceback" not in text
    return line


def distil(bundles, *options):
    teacher, student, data = bundles
    return ["distill", f"--teacher={teacher}", f"--student={student}", f"--dataset_dir={data}", *options]


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
    "distill": {"dataset_dir", "student_layer", "teacher_layer", "teacher_cache", "trust_teacher"},
    "evaluate": {"dataset_dir", "sites"},
    "profile": {"json"},
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_agrees_with_its_public_function(verb):
    door = VERBS[verb]
    function = public(door.target)
    ours, theirs = parameters(door.run), parameters(function)
    assert set(ours) - set(theirs) == OWN.get(verb, set())
    empty = (None, (), "")  # no names at all
    for name in ours.keys() & theirs.keys():
        same = ours[name].default == theirs[name].default
        assert same or (ours[name].default in empty and theirs[name].default in empty), name
    # what help shows is the function's text; a text of the verb's own is about what the function does not have
    documented = read_arguments(inspect.getdoc(function))
    assert documented == argument_texts(door.target)
    shown = argument_help(door)
    assert all(shown.values()), shown
    for name in ours.keys() & theirs.keys():
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
        (["distill", "--teacher=5", "--student=5"], "must be a path, got 5"),
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


def _whole_network(path):
    torch.save(torch.nn.Conv2d(1, 1, 1), path)


def _with_numpy(path):
    torch.save({"weight": torch.ones(1), "dice": np.float64(0.8)}, path)


def _torch_script(path):
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(path)


def _cut(path):
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), path)
    path.write_bytes(path.read_bytes()[:9000])


NO_WEIGHTS = [
    (_whole_network, "save them again by torch.save(network.state_dict(), path)."),
    (_with_numpy, "save them again by torch.save(network.state_dict(), path)."),
    (_torch_script, "load it by torch.jit.load in a program of your own and save them again by"),
    (_cut, "it is damaged or not of PyTorch; restore it from a copy."),
    (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"), "git lfs pull."),
    (lambda path: path.write_text("<!DOCTYPE html>\n<html>Sign in</html>"), "download the file itself."),
    (lambda path: path.write_bytes(b""), "it is empty; restore it from a copy."),
]


@pytest.mark.fault(
    "Wrong input",
    "`--teacher_weights` is no file of weights",
    injected="a pickled network, NumPy inside, TorchScript, a file cut short, a Git LFS pointer, a web page, an empty file",
    outcome="exit code 2, one line with the remedy, without PyTorch's advice to run its code",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("make", "remedy"), NO_WEIGHTS)
def test_teacher_weights_that_are_none_end_in_one_line(bundles, capsys, tmp_path, make, remedy):
    make(tmp_path / "weights.pt")
    line = fails_with(capsys, *distil(bundles, f"--teacher_weights={tmp_path / 'weights.pt'}"))
    assert remedy in line
    assert "weights_only" not in line
    assert "\x1b" not in line


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


@pytest.mark.fault(
    "Wrong input",
    "a flag with a typing slip",
    injected="`--sitess`, `--chek`, a missing flag and more",
    outcome="one line with what was meant, before anything is written",
)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("phantom --output_dir {out} --sitess HK", "unknown flag '--sitess' of phantom. Did you mean '--sites'"),
        ("prepare --source six-site --input_dir . --output_dir {out} --flip_label x", "Did you mean '--flip_labels'"),
        ("verify --dataset_dir . --output_dir {out} --lable_values 0", "Did you mean '--label_values'"),
        ("assemble --bundles_dir {out} --chek", "unknown flag '--chek' of assemble. Did you mean '--check'"),
        ("phantom --size 32", "phantom needs --output_dir"),
        ("new_bundle --name x", "new_bundle needs --network"),
    ],
)
def test_a_mistyped_or_missing_flag_is_one_line_before_anything_is_written(line, message, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        main(line.format(out=out).split())
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.fault(
    "Wrong input",
    "a flag with a value of another kind",
    injected="`verify --fix maybe`, `demo --epochs two` and more",
    outcome="one line, before anything is written",
)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("verify --dataset_dir . --output_dir {out} --fix maybe", "--fix must be True or False, got 'maybe'."),
        ("verify --dataset_dir . --output_dir {out} --workers=two", "--workers must be an integer, got 'two'."),
        ("assemble --bundles_dir {out} --check=maybe", "--check must be True or False, got 'maybe'."),
        ("demo --output_dir {out} --epochs two", "--epochs must be an integer, got 'two'."),
        ("demo --output_dir {out} --learning_rate fast", "--learning_rate must be a number, got 'fast'."),
        ("demo --output_dir {out} --seed 1.5", "--seed must be an integer, got 1.5."),
        ("prepare --source folder --input_dir . --output_dir {out} --size big", "--size must be an integer, got 'big'."),
        ("phantom --output_dir {out} --size True", "--size must be an integer, got True."),
        ("label --studies {out} --port http", "--port must be an integer, got 'http'."),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_one_line_before_anything_is_written(line, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert fails_with(capsys, *line.format(out=out).split()) == f"akd_monai: {message}"
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--epochs=two", "epochs must be an integer of at least 1, got 'two'."),
        ("--device=gpu", "device must be a device of this machine (cpu"),
        ("--train#trainer#max_epoch=3", "unknown argument 'max_epoch' of train#trainer. Did you mean 'max_epochs'"),
        ("--tracking=nosuch.json", "nosuch.json: cannot be opened (No such file or directory); "),
    ],
)
def test_a_wrong_value_of_distill_is_one_line_before_anything_is_written(option, message, bundles, capsys):
    assert message in fails_with(capsys, *distil(bundles, option))
    assert not (bundles[1] / "eval").exists()


def test_null_is_none(bundles, capsys, monkeypatch):
    seen = {}

    def train(workflow):
        seen.update(workflow.parser.get())

    monkeypatch.setattr("akd_monai.bundle.DistillationWorkflow.train", train)
    main(distil(bundles, "--folds=null", "--sites=null"))
    assert seen["folds"] is None
    assert seen["sites"] is None


OUT_OF_RANGE = [
    ("verify --dataset_dir={data} --workers=-1", "workers must be an integer of at least 0, got -1."),
    (
        "prepare --source=folder --input_dir={data} --output_dir={out} --workers=-1",
        "workers must be an integer of at least",
    ),
    ("prepare --source=folder --input_dir={data} --output_dir={out} --size=0", "size must be at least 8 pixels, got 0"),
    ("phantom --output_dir={out} --workers=-1", "workers must be an integer of at least 0, got -1."),
    ("phantom --output_dir={out} --slices=0", "slices must be at least 4"),
    ("phantom --output_dir={out} --cases_per_site=0", "cases_per_site must be at least 1, got 0."),
    ("demo --output_dir={out} --epochs=0", "epochs must be at least 1, got 0."),
    ("demo --output_dir={out} --seed=-1", "seed must be an integer of at least 0, got -1."),
    ("demo --output_dir={out} --learning_rate=-1", "learning_rate must be a finite number above 0, got -1."),
    ("demo --output_dir={out} --lambda_gram=-1", "lambda_gram must be a finite number of at least 0, got -1."),
    ("demo --output_dir={out} --features=0,8,8,8,8", "features must be five widths, integers above 0, got [0, 8"),
    ("demo --output_dir={out} --features=a,8,8,8,8", "features must be five widths, integers above 0, got ['a'"),
    ("report --results=5", "results must be a path"),
    ("send --output_dir={out}", "does not exist; give the folder of a run."),
    ("profile {data} --threads=0", "threads must be an integer of 1 or more, got 0."),
]


@pytest.mark.fault(
    "Wrong input",
    "flags of verbs out of range",
    injected="`--workers -1`, `--epochs 0`, `--seed -1`, `--slices 0` and 11 more",
    outcome="exit code 2, one line, nothing is written",
)
@pytest.mark.parametrize(("line", "message"), OUT_OF_RANGE)
def test_a_flag_out_of_range_is_one_line_before_anything_is_written(line, message, tmp_path, capsys):
    write_case(tmp_path / "data", "I2CVB", "Case00")
    out = tmp_path / "out"
    words = line.format(out=out, data=tmp_path / "data").split()
    assert message in fails_with(capsys, *words)
    assert not out.exists()
