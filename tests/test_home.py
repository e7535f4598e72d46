# SPDX-License-Identifier: Apache-2.0
"""What stands in place of the home folder and of the user's name."""

from __future__ import annotations

import getpass

import pytest
from monai.bundle import ConfigParser

from akd_monai._home import map_strings, runnable_without_home, without_home


@pytest.fixture(autouse=True)
def ada(monkeypatch):
    monkeypatch.setenv("HOME", "/homes/a lovelace")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/homes/a lovelace", "~"),
        ("/homes/a lovelace/data", "~/data"),
        ("sqlite:////homes/a lovelace/m.db", "sqlite:///~/m.db"),
        ("file:///homes/a%20lovelace/mlruns/1", "file://~/mlruns/1"),
        ("--a='/homes/a lovelace/b' --c=/homes/a lovelace/d", "--a='~/b' --c=~/d"),
        # names that only begin or end alike
        ("/homes/a lovelace2/data", "/homes/a lovelace2/data"),
        ("/mnt/homes/a lovelace/data", "/mnt/homes/<user>/data"),
        ("/scratch/ada/data", "/scratch/<user>/data"),
        ("/scratch/ada", "/scratch/<user>"),
        ("/scratch/adam/data and ada", "/scratch/adam/data and ada"),
        ("D:\\ada\\data", "D:\\<user>\\data"),
        ("/data/I2CVB", "/data/I2CVB"),
    ],
)
def test_home_and_user_are_replaced(text, expected):
    assert without_home(text) == expected


def test_in_a_command_the_shell_knows_the_folder():
    assert without_home("--dataset_dir=/homes/a lovelace/data", "$HOME") == "--dataset_dir=$HOME/data"


def test_the_home_of_the_root_of_the_disk_and_of_root_is_nobodys(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert without_home("/data/root/x") == "/data/root/x"


@pytest.mark.fault(
    "Privacy",
    "a user id without a name, as in containers",
    injected="the look-up raises",
    outcome="the home folder is still replaced",
)
def test_a_user_without_a_name_is_no_error(monkeypatch):
    def unknown():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert without_home("/homes/a lovelace/data") == "~/data"


@pytest.mark.parametrize(
    "value",
    [
        "/homes/a lovelace/data",
        "sqlite:////homes/a lovelace/m.db",
        "/homes/a lovelace",
        "it's /homes/a lovelace/x",
        "/x",
    ],
)
def test_a_config_without_the_home_means_the_same_to_monai(value):
    private = runnable_without_home(value)
    assert "lovelace" not in private
    assert ConfigParser({"a": private}).get_parsed_content("a") == value


def test_an_expression_is_not_made_another_expression():
    assert runnable_without_home("$open('/homes/a lovelace/x')") == "$open('~/x')"
    assert map_strings({"a": ["/homes/a lovelace", 1, None]}, runnable_without_home) == {
        "a": ["$__import__('os').path.expanduser('~')", 1, None]
    }
