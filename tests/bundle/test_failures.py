# SPDX-License-Identifier: Apache-2.0
"""Errors while a bundle's config is built: faults of the machine keep their remedy, all others name the config."""

from __future__ import annotations

import errno

import pytest
import torch
from monai.bundle import ConfigParser
from monai.utils import optional_import

from akd_monai._last_line import last_line
from akd_monai.bundle._failures import bundle_failures
from akd_monai.errors import BundleError, InputError

LOWER = "lower batch_size, spatial_size or num_workers."


def built(error: BaseException) -> BaseException:
    """Return what leaves ``bundle_failures`` when MONAI builds an object whose constructor raises ``error``."""

    class Network:
        def __init__(self) -> None:
            raise error

    parser = ConfigParser({"net": {"_target_": "$Network"}, "all": ["@net"]}, globals={"Network": Network})
    with pytest.raises(Exception, match=r"Network|bundle") as caught, bundle_failures("student"):
        parser.get_parsed_content("all")
    return caught.value


@pytest.mark.fault(
    "Disk, memory and processes",
    "memory or disk run out while the trainer is built",
    injected="the errors of the allocators and of a full disk, inside MONAI's config parser",
    outcome="exit code 1, one line with the remedy",
)
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), f"the memory is used up; {LOWER}"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes."),
         f"the memory is used up, 1.00 GiB more were asked for; {LOWER}"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
         f"the memory of the GPU is used up, 2.00 GiB more were asked for; {LOWER}"),
        (RuntimeError("std::bad_alloc"), f"the memory is used up; {LOWER}"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), f"the memory is used up; {LOWER}"),
        (OSError(errno.ENOSPC, "No space left on device", "eval/history.jsonl"),
         "no space left for eval/history.jsonl; free some, and start the same command again."),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
         "no space left on the disk (PytorchStreamWriter failed writing file data/0: file write failed); free some, and "
         "start the same command again."),
    ],
    ids=repr,
)  # fmt: skip
def test_faults_of_the_machine_while_a_bundle_is_built_keep_their_remedy(error, line):
    caught = built(error)
    # what a program that calls this package may want to handle
    assert not isinstance(caught, BundleError)
    assert last_line(caught) == (line, 1)


def test_an_error_of_the_bundle_names_the_config():
    caught = built(TypeError("got an unexpected keyword"))
    assert isinstance(caught, BundleError)
    line, code = last_line(caught)
    assert code == 1
    assert line.startswith("bundle 'student' failed: TypeError: got an unexpected keyword (test_failures.py, line ")


def test_a_missing_package_is_named_without_a_traceback_and_colours():
    name = "no_such_package_of_monai"
    missing, _ = optional_import(name)
    with pytest.raises(BundleError) as caught, bundle_failures("student"):
        missing.transform  # noqa: B018
    assert "No module named 'no_such_package_of_monai'" in str(caught.value)
    assert "raceback" not in str(caught.value)
    assert "installing the optional dependencies" not in str(caught.value)

    with pytest.raises(BundleError, match=r"RuntimeError: only if trusted \("), bundle_failures("student"):
        raise RuntimeError("\x1b[1monly if trusted\x1b[0m.")


def test_data_that_are_not_there_are_a_mistake_with_a_remedy():
    def load():
        return torch.utils.data.DataLoader([], shuffle=True)

    parser = ConfigParser({"loader": {"_target_": "$load"}}, globals={"load": load})
    said = r"'student' finds no cases to train on; give .*--dataset_dir"
    with pytest.raises(InputError, match=said), bundle_failures("student"):
        parser.get_parsed_content("loader")
