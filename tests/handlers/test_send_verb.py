# SPDX-License-Identifier: Apache-2.0
"""``python -m akd_monai send``: what a run kept back is sent once, completely, and to no other run."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from mlflow.tracking import MlflowClient
from test_mlflow_spool import steps, untracked
from test_mlflow_tracker import SPOOL_FILENAME, runs_of, tracked

from akd_monai.__main__ import main
from akd_monai.handlers import unique_run_name

SENT_STEPS = [1, 2, 3]


def fails_at(monkeypatch, number, error):
    """Let MLflow fail at its n-th batch."""
    real = MlflowClient.log_batch
    calls = []

    def batch(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", batch)


@pytest.mark.fault(
    "Tracking",
    "`send` is called twice",
    injected="a finished run that was kept back",
    outcome="the second call sends nothing, no other run is touched",
)
def test_what_was_kept_back_is_sent_once(tmp_path, store, monkeypatch, capsys):
    tracked(tmp_path / "other", store, epochs=1)
    untracked(tmp_path / "run", store, monkeypatch, epochs=3)
    main(["send", f"--output_dir={tmp_path / 'run'}"])
    assert capsys.readouterr().out == f"Sent: 5 entries of {tmp_path / 'run'}\n"
    main(["send", f"--output_dir={tmp_path / 'run'}", f"--tracking_uri={store}"])
    assert capsys.readouterr().out == f"Nothing waits to be sent in {tmp_path / 'run'}\n"
    other, sent = runs_of(store)
    assert steps(store, other) == [1]
    assert steps(store, sent) == SENT_STEPS
    assert (sent.info.run_name, sent.info.status) == (unique_run_name(tmp_path / "run"), "FINISHED")


@pytest.mark.fault(
    "Tracking",
    "the server dies while `send` runs",
    injected="the third call raises",
    outcome="what was sent is taken out, the next call sends the rest",
)
def test_half_of_it_is_not_sent_again(tmp_path, store, monkeypatch, capsys):
    untracked(tmp_path, store, monkeypatch, epochs=3)
    with monkeypatch.context() as patch:
        fails_at(patch, 3, ConnectionError("server gone"))
        with pytest.raises(SystemExit) as stopped:
            main(["send", f"--output_dir={tmp_path}"])
    assert stopped.value.code == 2
    assert "nothing is lost: try again" in capsys.readouterr().err.splitlines()[-1]
    left = [json.loads(line) for line in (tmp_path / SPOOL_FILENAME).read_text().splitlines()]
    assert [entry.get("step") for entry in left] == [2, 3, None]
    main(["send", f"--output_dir={tmp_path}"])
    assert capsys.readouterr().out == f"Sent: 3 entries of {tmp_path}\n"
    (run,) = runs_of(store)
    assert steps(store, run) == steps(store, run, "val_mean_dice") == SENT_STEPS


@pytest.mark.fault(
    "Tracking",
    "`send` is killed before it could take out what it sent",
    injected="the file is put back after all was sent",
    outcome="sent again, no value is there twice",
)
def test_a_killed_sender_leaves_no_value_twice(tmp_path, store, monkeypatch):
    untracked(tmp_path, store, monkeypatch, epochs=3)
    before = tmp_path / "before"
    shutil.copy(tmp_path / SPOOL_FILENAME, before)
    main(["send", f"--output_dir={tmp_path}"])
    # as SIGKILL leaves it: everything is sent, and nothing is taken out of the file
    shutil.copy(before, tmp_path / SPOOL_FILENAME)
    main(["send", f"--output_dir={tmp_path}"])
    (run,) = runs_of(store)
    assert steps(store, run) == SENT_STEPS
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("line", "kept"),
    [(b'{"run": "a', '{"run": "a\n'), (b'{"run": "\xff", "time": 1}\n', '{"run": "\\xff", "time": 1}\n')],
    ids=["half a line", "a byte"],
)
def test_a_damaged_line_is_told_by_the_exit_code(tmp_path, store, monkeypatch, capsys, line, kept):
    untracked(tmp_path, store, monkeypatch, epochs=1)
    spool = tmp_path / SPOOL_FILENAME
    count = len(spool.read_text().splitlines())
    spool.write_bytes(spool.read_bytes() + line)
    with pytest.raises(SystemExit) as stopped:
        main(["send", f"--output_dir={tmp_path}"])
    assert stopped.value.code == 2
    expected = f"{count} entries were sent; the file keeps 1 line that cannot be read; delete the file"
    assert expected in capsys.readouterr().err.splitlines()[-1]
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    # what nobody has read is not thrown away
    assert spool.read_text() == kept


@pytest.mark.fault(
    "Tracking",
    "Ctrl-C during `send`",
    injected="an interrupt within the second call",
    outcome="exit code 130, the rest is kept",
)
def test_ctrl_c_between_two_entries_keeps_the_rest(tmp_path, store, monkeypatch):
    untracked(tmp_path, store, monkeypatch, epochs=3)
    with monkeypatch.context() as patch:
        fails_at(patch, 2, KeyboardInterrupt())
        with pytest.raises(SystemExit) as stopped:
            main(["send", f"--output_dir={tmp_path}"])
    assert stopped.value.code == 128 + signal.SIGINT
    assert len((tmp_path / SPOOL_FILENAME).read_text().splitlines()) == 4


def test_files_are_found_after_the_folder_was_moved(tmp_path, store, monkeypatch):
    folder = tmp_path / "a" / "run"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("kept")
    untracked(folder, store, monkeypatch, epochs=1, tracker={"artifacts": str(folder / "notes.txt")})
    shutil.move(tmp_path / "a", tmp_path / "b")
    main(["send", f"--output_dir={tmp_path / 'b' / 'run'}"])
    (run,) = runs_of(store)
    assert [file.path for file in MlflowClient(store).list_artifacts(run.info.run_id)] == ["notes.txt"]


@pytest.mark.fault(
    "Privacy",
    "what waits to be sent names the home folder",
    injected="params, tags and files below the home, no server",
    outcome="`~` in its place",
)
def test_what_waits_names_no_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "ada" / "run"
    options = {"experiment_param": {"data": str(tmp_path / "ada" / "data")}, "tags": {"where": str(folder)}}
    tracked(folder, "http://127.0.0.1:9", epochs=1, tracker={**options, "artifacts": str(folder / "history.jsonl")})
    text = (folder / SPOOL_FILENAME).read_text()
    assert '"data": "~/data"' in text
    assert '"where": "~/run"' in text
    assert str(tmp_path) not in text


@pytest.mark.fault(
    "Privacy",
    "params and tags name the home folder",
    injected="paths below the home as values",
    outcome="`~` in its place; none of MLflow's own tags for user and program",
)
def test_params_and_tags_name_no_home_and_no_user(tmp_path, store, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    home = tmp_path / "ada"
    options = {"experiment_param": {"data": str(home / "data")}, "tags": {"where": str(home)}}
    tracked(home / "run", store, epochs=1, tracker=options)
    (run,) = runs_of(store)
    assert (run.data.params["data"], run.data.tags["where"]) == ("~/data", "~")
    assert not {"mlflow.user", "mlflow.source.name", "mlflow.source.git.commit"} & run.data.tags.keys()
    assert run.info.user_id in ("", "unknown")
