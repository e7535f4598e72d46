# SPDX-License-Identifier: Apache-2.0
"""A bad volume costs itself alone, is named once, and counts at the end."""

from __future__ import annotations

import logging

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose

from akd_monai.data import VolumeStream
from akd_monai.errors import InputError

FAULTS = {
    "damaged": InputError("has 0 bytes", where="in/damaged.nii.gz", remedy="copy it again"),
    "nameless": InputError("has 0 bytes", remedy="copy it again"),
    "bug": KeyError("affine"),
}


def load(item):
    """Return the number in the name of a volume; some have a fault."""
    name = item["image"].split("/")[-1].split(".")[0]
    if name in FAULTS:
        raise FAULTS[name]
    return {"image": torch.tensor([int(name)])}


def stream_of(*names) -> VolumeStream:
    return VolumeStream([{"image": f"in/{name}.nii.gz"} for name in names], Compose([Compose([load])]))


def loaded(stream, **options) -> list[int]:
    return [int(batch["image"]) for batch in DataLoader(stream, batch_size=1, **options)]


@pytest.mark.fault(
    "Masks that are written",
    "bad volumes in a batch",
    injected="some volumes raise",
    outcome="named; the others are segmented",
)
def test_the_others_are_done(caplog):
    stream = stream_of("1", "damaged", "2", "nameless", "bug", "3")
    with caplog.at_level(logging.INFO):
        assert loaded(stream) == [1, 2, 3]
    assert caplog.messages == [
        "not segmented: in/damaged.nii.gz: has 0 bytes; copy it again.",
        "not segmented: in/nameless.nii.gz: has 0 bytes; copy it again.",
        "not segmented: in/bug.nii.gz: KeyError: 'affine'",
    ]
    with pytest.raises(InputError) as caught:
        stream.report()
    assert str(caught.value) == (
        "3 of 6 volumes segmented; failed: damaged.nii.gz (has 0 bytes), nameless.nii.gz (has 0 bytes), "
        "bug.nii.gz (KeyError: 'affine')."
    )


def test_without_faults_they_are_counted(caplog):
    stream = stream_of("1", "2")
    assert loaded(stream) == [1, 2]
    with caplog.at_level(logging.INFO):
        stream.report()
    assert caplog.messages == ["2 of 2 volumes segmented."]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_volumes_and_count_failures(method):
    stream = stream_of("1", "damaged", "2", "3", "bug", "4", "5")
    assert sorted(loaded(stream, num_workers=2, multiprocessing_context=method)) == [1, 2, 3, 4, 5]
    with pytest.raises(
        InputError, match=r"5 of 7 volumes .*: damaged\.nii\.gz \(see above\), bug\.nii\.gz \(see above\)"
    ):
        stream.report()


def test_equal_names_are_told_apart_and_a_long_list_is_cut():
    names = [f"{patient}/damaged" for patient in "abcdefghijkl"]
    stream = stream_of(*names)
    assert loaded(stream) == []
    with pytest.raises(InputError, match=r"0 of 12 .*: a/damaged\.nii\.gz \(has 0 bytes\), b/.* and 2 more\.$"):
        stream.report()


def test_an_interrupt_is_no_fault_of_a_volume():
    def stopped(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(VolumeStream([{"image": "a.nii.gz"}], stopped))


def volume(name, value=1.0):
    return {"image": MetaTensor(torch.full((1, 2), value), meta={"filename_or_obj": f"in/{name}.nii.gz"})}


@pytest.mark.fault(
    "Masks that are written",
    "one mask cannot be written",
    injected="writing raises ENOSPC for one of two volumes",
    outcome="named; the other is done",
)
def test_a_mask_that_cannot_be_made_costs_its_volume_alone(caplog):
    def write(item):
        if float(item["image"].max()) > 1:
            raise OSError(28, "No space left on device")
        return {"written": item["image"]}

    stream = stream_of("1", "2")
    guarded = stream.guarded(Compose([write]))
    bad = volume("2", 2.0)
    assert set(guarded(volume("1"))) == {"written"}
    assert guarded(bad) is bad
    assert caplog.messages == [
        "not segmented: in/2.nii.gz: no space left on the disk; free some, and start the same command again."
    ]
    with pytest.raises(
        InputError, match=r"1 of 2 volumes segmented; failed: 2\.nii\.gz \(no space left on the disk"
    ) as end:
        stream.report()
    # exit code 1, no input is the reason; one bad volume beside it is a reason
    assert end.value.code == "machine-fault"
    stream.guarded(Compose([lambda item: item["affine"]]))(volume("1"))
    with pytest.raises(InputError, match="0 of 2 volumes segmented") as end:
        stream.report()
    assert end.value.code == "failed-volumes"


def test_an_item_that_is_none_of_the_stream_is_not_swallowed():
    def broken(item):
        raise InputError("has no mask")

    with pytest.raises(RuntimeError) as caught:
        stream_of("1").guarded(Compose([broken]))(volume("other"))
    assert isinstance(caught.value.__cause__.__cause__, InputError)


@pytest.mark.fault(
    "Masks that are written",
    "a volume that the network cannot take",
    injected="the inferer fails, or has no memory, for one of three volumes",
    outcome="two masks, the volume named with the cause, exit code 2",
)
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("sizes differ"), "RuntimeError: sizes differ"),
        (MemoryError(), "the memory is used up; lower batch_size"),
    ],
)
def test_a_failure_in_the_network_costs_its_volume_alone(error, words):
    names = ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    stream = VolumeStream([{"image": name} for name in names], dict)
    finished = []

    def infer(inputs, network):
        if inputs.meta["filename_or_obj"] == ["b.nii.gz"]:
            raise error
        return inputs + 1

    for name in names:
        batch = MetaTensor(torch.zeros(1, 1, 4, 4), meta={"filename_or_obj": [name]})
        predicted = stream.guarded_inferer(infer)(batch, None)
        item = {"image": MetaTensor(torch.zeros(1, 4, 4), meta={"filename_or_obj": name}), "pred": predicted[0]}
        # a failed volume is given to no transform, so that nothing is written
        stream.guarded(lambda item, name=name: finished.append((name, float(item["pred"].mean()))))(item)
    assert finished == [("a.nii.gz", 1.0), ("c.nii.gz", 1.0)]
    with pytest.raises(InputError, match=r"2 of 3 volumes segmented; failed: b\.nii\.gz \(") as caught:
        stream.report()
    assert words in str(caught.value)


def test_a_batch_without_names_fails_as_before():
    def infer(inputs, network):
        raise ValueError("sizes differ")

    with pytest.raises(ValueError, match="sizes differ"):
        VolumeStream([{"image": "a.nii.gz"}], dict).guarded_inferer(infer)(torch.zeros(1, 1, 4, 4), None)
