# SPDX-License-Identifier: Apache-2.0
"""Damage of a checkpoint is noticed at every byte, and the file before it is used."""

from __future__ import annotations

import random
import zipfile

import pytest
import torch
from toy_run import build

from akd_monai.errors import InputError
from akd_monai.files import save_atomic
from akd_monai.handlers._checkpoint_folder import CheckpointFolder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    build(folder, epochs=2).run()
    return folder


@pytest.fixture
def files(trained, tmp_path):
    for name in ("resume.pt", "resume-previous.pt"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    return CheckpointFolder(tmp_path)


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bits(size):
    """Return 200 bits of a file: random ones, and all that stand at places of meaning."""
    generator = random.Random(0)
    ends = [*range(16), *range(8 * size - 100 * 8, 8 * size, 40)]
    return [*ends, *generator.sample(range(8 * size), 200 - len(ends))]


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a bit of `resume.pt` flips",
    injected="200 bits, at random and at both ends",
    outcome="found in 200 of 200 by checksum; the file before is used",
)
def test_a_flipped_bit_is_found_in_200_of_200(files):
    intact = files.path.read_bytes()
    missed = []
    for bit in bits(len(intact)):
        files.path.write_bytes(flipped(intact, bit))
        found = files.newest()
        if found is None or found[0] != files.previous:
            missed.append(bit)
    assert missed == []
    files.path.write_bytes(intact)
    assert files.newest()[0] == files.path


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "the flipped bit is in the run's description",
    injected="a bit of its text is flipped",
    outcome="called damage, not another run; resumed bit-identically from the file before",
)
def test_a_flip_in_the_text_of_the_fingerprint_is_damage_not_another_run(trained, tmp_path, caplog):
    build(tmp_path, epochs=2).run()
    intact = (tmp_path / "resume.pt").read_bytes()
    place = intact.index(b"network_class")
    (tmp_path / "resume.pt").write_bytes(flipped(intact, 8 * place))
    trainer = build(tmp_path, epochs=3)
    trainer.run()
    assert "resume.pt, which cannot be read: its checksum is wrong" in caplog.text
    expected = build(tmp_path / "uninterrupted", epochs=3)
    expected.run()
    for key, value in expected.network.state_dict().items():
        assert torch.equal(trainer.network.state_dict()[key], value)


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "reading a checkpoint fails in an odd way",
    injected="`torch.load` raises five kinds of errors",
    outcome="taken as damage; the file before is used",
)
@pytest.mark.parametrize("error", [IndexError, UnicodeDecodeError, MemoryError, AttributeError, OverflowError])
def test_any_error_while_reading_is_damage(files, monkeypatch, error):
    real = torch.load
    calls = []

    def load(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "x") if error is UnicodeDecodeError else error("odd")
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "load", load)
    assert files.newest()[0] == files.previous


def test_the_checksum_is_a_zip_comment_that_other_readers_ignore(files):
    with zipfile.ZipFile(files.path) as archive:
        assert archive.comment.startswith(b"sha256 ")
        assert archive.testzip() is None
    assert torch.load(files.path, weights_only=True)["iteration"] == 10


def test_a_checkpoint_of_before_checksums_is_read_with_a_note(files, caplog):
    content = torch.load(files.path, weights_only=True)
    save_atomic({**content, "format": 1}, files.path)
    path, _ = files.newest()
    assert path == files.path
    assert "written by an earlier version, without a checksum" in caplog.text


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a checkpoint without its checksum",
    injected="saved again by other means",
    outcome="taken as damage; the file before is used",
)
def test_a_checkpoint_that_lost_its_checksum_is_damaged(files, caplog):
    save_atomic(torch.load(files.path, weights_only=True), files.path)
    assert files.newest()[0] == files.previous
    assert "its checksum is missing" in caplog.text


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a folder in the place of a checkpoint",
    injected="`resume.pt` is made a folder",
    outcome="one line before the first step",
)
@pytest.mark.parametrize("name", ["resume.pt", "resume-previous.pt"])
@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_folder_in_the_place_of_a_file_is_told_at_the_start(tmp_path, name, resume):
    (tmp_path / name).mkdir()
    trainer = build(tmp_path, epochs=1, resume=resume)
    with pytest.raises(InputError, match=rf"{name}: is a folder, not a checkpoint; move it away\.$"):
        trainer.run()
    assert trainer.state.iteration == 0
