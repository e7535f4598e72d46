# SPDX-License-Identifier: Apache-2.0
"""The password of a tracking server is sent to the server, and is written nowhere else."""

from __future__ import annotations

import json

import pytest
from test_mlflow_tracker import SPOOL_FILENAME, tracked

from akd_monai.errors import InputError
from akd_monai.handlers import send_spooled
from akd_monai.handlers._mlflow_run import without_password

SECRET = "s3cr3t"
WITH_AT = f"http://ada:p@{SECRET}@127.0.0.1:9/mlflow"


def assert_secret_nowhere(folder):
    for path in folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("is_in_environment", [True, False])
def test_no_log_no_file_and_no_error_holds_the_password(tmp_path, monkeypatch, caplog, is_in_environment):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", WITH_AT)
    if not is_in_environment:
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
    executed = tmp_path / "config_20260101_000000.json"
    executed.write_text(json.dumps({"tracking_uri": WITH_AT, "nested": [f"$f('{WITH_AT}')"]}))
    tracked(tmp_path, None if is_in_environment else WITH_AT, tracker={"artifacts": str(executed)})
    assert "MLflow cannot be reached (API request to http://127.0.0.1:9/mlflow" in caplog.text
    assert SECRET not in caplog.text
    assert json.loads(executed.read_text())["tracking_uri"] == "http://127.0.0.1:9/mlflow"
    assert (tmp_path / SPOOL_FILENAME).is_file()
    assert_secret_nowhere(tmp_path)
    with pytest.raises(
        InputError, match=r"MLflow at http://127\.0\.0\.1:9/mlflow does not take the entries"
    ) as refused:
        send_spooled(tmp_path, WITH_AT)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"a {WITH_AT}/x?a=b@c, b", "a http://127.0.0.1:9/mlflow/x?a=b@c, b"),
        (f"mysql://h/db?user=ada&PASSWORD={SECRET}&ssl=1", "mysql://h/db?user=ada&PASSWORD=***&ssl=1"),
        (f"https://h?token={SECRET}", "https://h?token=***"),
        ("sqlite:////data/ada@site/mlruns.db", "sqlite:////data/ada@site/mlruns.db"),
        ("https://h/users/ada@site", "https://h/users/ada@site"),
    ],
)
def test_what_is_secret_in_a_uri(given, shown):
    assert without_password(given) == shown
