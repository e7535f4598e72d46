# SPDX-License-Identifier: Apache-2.0
"""Configs of version 0.1 lead to the objects in their new places, or to an error that says what to use."""

from __future__ import annotations

import importlib
import inspect
import logging
import pydoc
import sys

import pytest
from monai.bundle import ConfigParser

from akd_monai._moved_tables import MODULES, NAMES, REMOVED
from akd_monai.errors import InputError

# What the bundles' JSON of version 0.1 named: the module that defines the object today, and its name there.
OF_BUNDLES = {
    "akd_monai.bundle.distillation_layer": "distillation_layer",
    "akd_monai.bundle.input_shape": "input_shape",
    "akd_monai.bundle.load_network": "load_network",
    "akd_monai.bundle.weights_sha256": "weights_sha256",
    "akd_monai.data.KeyedSampler": "KeyedSampler",
    "akd_monai.data.SliceDataset": "SliceDataset",
    "akd_monai.data.VolumeWriter": "VolumeWriter",
    "akd_monai.data.datalist": "datalist",
    "akd_monai.data.fingerprint": "fingerprint",
    "akd_monai.data.input_volumes": "input_volumes",
    "akd_monai.data.prepare.prepare": "prepare_dataset",
    "akd_monai.data.require_volumes": "require_volumes",
    "akd_monai.engines.DistillationTrainer": "DistillationTrainer",
    "akd_monai.engines.lr_schedule": "lr_schedule",
    "akd_monai.handlers.CaseMetrics": "CaseMetrics",
    "akd_monai.handlers.FiniteLoss": "FiniteLoss",
    "akd_monai.handlers.History": "History",
    "akd_monai.handlers.KeyedRandomness": "KeyedRandomness",
    "akd_monai.handlers.LoadWeights": "LoadWeights",
    "akd_monai.handlers.LossTerms": "LossTerms",
    "akd_monai.handlers.MLflowTracker": "MLflowTracker",
    "akd_monai.handlers.Progress": "Progress",
    "akd_monai.handlers.ResumableCheckpoint": "ResumableCheckpoint",
    "akd_monai.handlers.SaveBestModel": "SaveBestModel",
    "akd_monai.handlers.unique_run_name": "unique_run_name",
    "akd_monai.losses.AdaptiveAffinityLoss": "AdaptiveAffinityLoss",
    "akd_monai.losses.DistillationCriterion": "DistillationCriterion",
    "akd_monai.losses.GramKernelLoss": "GramKernelLoss",
    "akd_monai.losses.LogitsKLLoss": "LogitsKLLoss",
    "akd_monai.networks.nets.DeepLabV3Plus": "DeepLabV3Plus",
    "akd_monai.networks.nets.ENet": "ENet",
    "akd_monai.networks.nets.ERFNet": "ERFNet",
    "akd_monai.networks.nets.ESPNet": "ESPNet",
    "akd_monai.networks.nets.UNetPlusPlus": "UNetPlusPlus",
}

# Other public names of version 0.1, which a config or a program of one's own may hold.
OF_USERS = {
    "akd_monai.bundle.change.change_bundle": "change_bundle",
    "akd_monai.bundle.profile.profile_bundles": "profile_bundles",
    "akd_monai.bundle.results.publish_results": "publish_results",
    "akd_monai.cache.RowStore": "RowStore",
    "akd_monai.cache.TeacherCache": "TeacherCache",
    "akd_monai.cache.code_facts.code_facts": "code_facts",
    "akd_monai.cache.teacher_identity": "teacher_identity",
    "akd_monai.cache.identity.teacher_identity": "teacher_identity",
    "akd_monai.cache.rows.RowStore": "RowStore",
    "akd_monai.cache.teacher_cache.TeacherCache": "TeacherCache",
    "akd_monai.cache.volume_key": "volume_key",
    "akd_monai.data.find_view.find_view": "find_view",
    "akd_monai.data.flip_evidence.flip_evidence": "flip_evidence",
    "akd_monai.data.make_phantom": "make_phantom",
    "akd_monai.data.mask_writer.VolumeWriter": "VolumeWriter",
    "akd_monai.data.phantom.make_phantom": "make_phantom",
    "akd_monai.data.sources.get_source": "get_source",
    "akd_monai.data.verify.verify": "verify_dataset",
    "akd_monai.engines.cached_teacher.CachedTeacher": "CachedTeacher",
    "akd_monai.engines.online_teacher.OnlineTeacher": "OnlineTeacher",
    "akd_monai.engines.sample_ids.sample_ids": "sample_ids",
    "akd_monai.engines.teacher_options.TeacherOptions": "TeacherOptions",
    "akd_monai.engines.teacher_source.TeacherSource": "TeacherSource",
    "akd_monai.experiments.machine.machine_facts": "machine_facts",
    "akd_monai.handlers.NonFiniteError": "NonFiniteError",
    "akd_monai.handlers.files.atomic_write": "atomic_write",
    "akd_monai.handlers.run_state.RunMember": "RunMember",
    "akd_monai.losses.gram_matrix.gram_loss": "gram_loss",
    "akd_monai.networks.hooks.FeatureTaps": "FeatureTaps",
    "akd_monai.networks.nets.batchnorm.BatchNorm2d": "VectorizedBatchNorm2d",
    "akd_monai.networks.nets.prelu.PReLU": "VectorizedPReLU",
    "akd_monai.networks.operations.count_operations": "count_operations",
    "akd_monai.networks.profile_table.profile_table": "profile_table",
}
OF_USERS |= {
    "akd_monai.bundle.assemble.assemble": "assemble_bundles",
    "akd_monai.bundle.run.distill": "distill_bundle",
    "akd_monai.bundle.run.evaluate": "evaluate_bundle",
    "akd_monai.cache.identity.volume_key": "volume_key",
    "akd_monai.data.sources.base.CaseError": "CaseError",
    "akd_monai.data.sources.series.choose_series": "choose_series",
    "akd_monai.data.volume_cache.case_name": "case_name",
    "akd_monai.handlers.run_lock.RunLock": "FolderLock",
    "akd_monai.losses.checks.check_choice": "check_choice",
}
OLD = {**OF_BUNDLES, **OF_USERS}


def causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@pytest.fixture
def forgotten_modules():
    """Modules under old names are made again, so that their warning is seen."""
    old = {f"akd_monai.{name}" for name in MODULES}
    before = {name: sys.modules.pop(name) for name in old & set(sys.modules)}
    yield
    sys.modules.update(before)


@pytest.mark.parametrize("target", OLD)
def test_an_old_target_is_the_new_object(target):
    found = pydoc.locate(target)
    assert found is not None
    found = inspect.unwrap(found)  # an old function may still take its old arguments
    assert found.__name__ == OLD[target]
    # the object itself, as today's module gives it, and no copy of its module
    assert found is getattr(importlib.import_module(found.__module__), OLD[target])
    assert found.__module__ not in {f"akd_monai.{name}" for name in MODULES}


@pytest.mark.parametrize("target", OF_BUNDLES)
def test_a_config_resolves_it(target):
    parser = ConfigParser({"made": {"_target_": target, "_mode_": "callable"}, "called": f"${target}"})
    parser["imports"] = ["$import akd_monai"]
    for name in ("made", "called"):
        assert inspect.unwrap(parser.get_parsed_content(name)) is inspect.unwrap(pydoc.locate(target))


@pytest.mark.parametrize("old", MODULES)
def test_every_moved_module_is_found(old):
    assert importlib.import_module(f"akd_monai.{old}").__name__ == f"akd_monai.{old}"
    importlib.import_module(f"akd_monai.{MODULES[old]}")


@pytest.mark.parametrize("old", NAMES)
def test_every_renamed_object_is_the_new_one(old):
    new = pydoc.locate(f"akd_monai.{NAMES[old]}")
    assert new is not None
    assert inspect.unwrap(pydoc.locate(f"akd_monai.{old}")) is new


@pytest.mark.parametrize("old", REMOVED)
def test_a_removed_name_ends_in_an_error_that_names_what_to_use(old):
    message = rf"^akd_monai\.{old.replace('.', '[.]')} no longer exists; .*{REMOVED[old].split(' ')[0]} .*\.$"
    with pytest.raises(InputError, match=message) as caught:
        pydoc.locate(f"akd_monai.{old}")
    assert caught.value.code == "removed"
    parser = ConfigParser({"made": {"_target_": f"akd_monai.{old}"}})
    with pytest.raises(Exception, match="no longer exists") as wrapped:
        parser.get_parsed_content("made")
    assert any(isinstance(error, InputError) for error in causes(wrapped.value))


def test_the_new_name_is_said_once(caplog, forgotten_modules):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            importlib.import_module("akd_monai.data.mask_writer")
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "akd_monai.data.mask_writer is now akd_monai.data.writer; change the name, the old one will be removed."
    ]


@pytest.mark.parametrize("package", ["data", "handlers", "networks"])
def test_what_never_existed_is_an_ordinary_error(package):
    module = importlib.import_module(f"akd_monai.{package}")
    with pytest.raises(AttributeError, match=f"module 'akd_monai.{package}' has no attribute 'Nothing'"):
        _ = module.Nothing
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"akd_monai.{package}.nothing")
    assert not hasattr(module, "__wrapped__")


@pytest.mark.parametrize(
    "target", ["data.verify_case.FileCheck", "label.infer.SafeInfer", "losses.affinity_pairs.AffinityOptions"]
)
def test_what_became_private_names_what_its_package_offers(target):
    with pytest.raises(InputError, match=r"is private now or no longer exists; akd_monai\.[\w.]+ offers \w+") as caught:
        pydoc.locate(f"akd_monai.{target}")
    assert caught.value.code == "removed"
