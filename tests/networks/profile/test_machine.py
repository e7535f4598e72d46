# SPDX-License-Identifier: Apache-2.0
"""Facts about the computer, and what must not be among them."""

from __future__ import annotations

import getpass
import importlib
import json
import platform

import torch

import akd_monai
from akd_monai.networks.profile import machine, machine_facts


def test_facts_are_plain_and_name_nobody():
    facts = machine_facts()
    text = json.dumps(facts)
    assert facts["akd_monai"] == akd_monai.__version__
    assert facts["torch"] == torch.__version__
    assert facts["cores"] >= 1
    assert (facts["gpu"] == "none") == (not torch.cuda.is_available())
    assert platform.node() not in text
    assert getpass.getuser() not in text
    assert "/" not in text.replace(facts["cpu"], "")


def test_cpu_model(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2.0 GHz\nmodel name\t: Some CPU @ 2.0 GHz\n")
    assert machine._cpu_model(cpuinfo) == "Some CPU @ 2.0 GHz"
    assert machine._cpu_model(tmp_path / "absent")


def test_a_missing_package_is_said():
    assert machine._version("no-such-package-here") == "not installed"


def test_the_place_of_version_0_1_leads_here():
    assert importlib.import_module("akd_monai.experiments.machine").machine_facts is machine_facts
