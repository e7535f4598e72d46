# SPDX-License-Identifier: Apache-2.0
"""NIfTI files as a door meets them: bombs, pipes, links, impossible headers, contradicting geometry, other units."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from volume_tools import AFFINE, grey, nifti, put, sform

from akd_monai.data.geometry import spacing_of
from akd_monai.data.nifti import FileError, read_nifti
from akd_monai.data.volume_file import read_volume_file

MIRRORED = np.diag([0.5, -0.5, 3.0, 1.0])
SHEARED = AFFINE.copy()
SHEARED[0, 2] = 0.8
SINGULAR = AFFINE.copy()
SINGULAR[:3, 1] = SINGULAR[:3, 0]


def fault_of(path):
    with pytest.raises(FileError) as caught:
        read_volume_file(path)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_good_file_has_no_warning(tmp_path):
    volume = read_volume_file(put(tmp_path / "a.nii.gz", nifti(grey())))
    np.testing.assert_array_equal(volume.array, grey())
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.warnings == ()


LIMITED = """
import resource, sys
import numpy, nibabel
from pathlib import Path
from akd_monai.data.volume_file import FileError, read_volume_file
# what importing took, and 200 MB
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000,) * 2)
try:
    read_volume_file(sys.argv[1])
except FileError as error:
    print(error.code)
"""


def code_in_little_memory(path):
    command = [sys.executable, "-c", LIMITED, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.fault(
    "Volumes",
    "a gzip bomb",
    injected="a gigabyte behind a header that promises 256 bytes",
    outcome="refused in little memory",
)
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(nifti(np.zeros((4, 4, 4), np.float32)))
        for _ in range(64):
            stream.write(bytes(1 << 24))
    # a gigabyte behind a header that promises 256 bytes
    assert path.stat().st_size < 10_000_000
    assert code_in_little_memory(path) == "oversized"


@pytest.mark.fault(
    "Volumes",
    "a header of 30000 x 30000 x 30000",
    injected="in `.nii` and `.nii.gz`",
    outcome="refused in little memory",
)
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
@pytest.mark.parametrize(("name", "code"), [("a.nii.gz", "too-large"), ("a.nii", "too-large")])
def test_a_header_of_30000_cubed_takes_no_memory(tmp_path, name, code):
    huge = nifti(grey(), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    assert code_in_little_memory(put(tmp_path / name, huge)) == code


def test_a_header_that_promises_more_than_gzip_can_hold_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = put(tmp_path / "a.nii.gz", nifti(grey(), dim=[3, 900, 900, 900, 1, 1, 1, 1]))
    monkeypatch.setattr("akd_monai.data._streams.Inflater.read", guarded(350))
    fault = fault_of(path)
    assert fault.code == "truncated"
    assert fault.what.startswith("is truncated: the header promises 1458000352 bytes, the file holds ")
    assert fault.what.endswith(" compressed")


def guarded(most):
    from akd_monai.data._streams import Inflater

    original = Inflater.read

    def read(self, size, /):
        assert size <= most, "more than a header was asked for"
        return original(self, size)

    return read


@pytest.mark.fault(
    "Volumes",
    "bytes after the voxels",
    injected="513 bytes more than promised",
    outcome="refused",
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_bytes_after_the_voxels(tmp_path, name):
    padded = put(tmp_path / name, nifti(grey()) + bytes(512))
    np.testing.assert_array_equal(read_volume_file(padded).array, grey())
    fault = fault_of(put(tmp_path / name, nifti(grey()) + bytes(513)))
    assert (fault.code, fault.what) == ("oversized", "holds more than the 592 bytes that its header promises")


def test_a_gzip_of_several_members_is_one_file(tmp_path):
    data = nifti(grey())
    parts = [gzip.compress(data[start : start + 100]) for start in range(0, len(data), 100)]
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"".join(parts) + bytes(1000))
    np.testing.assert_array_equal(read_volume_file(path).array, grey())
    path.write_bytes(b"".join(parts[:-1]) + parts[-1][:-5])
    assert fault_of(path).code == "truncated"
    path.write_bytes(b"".join(parts) + b"garbage")
    assert fault_of(path).code == "damaged"


@pytest.mark.fault(
    "Volumes",
    "one bit of a large gzip flips",
    injected="a bit in the middle",
    outcome="refused by its checksum",
)
def test_large_voxels_come_in_many_pieces(tmp_path):
    voxels = np.random.default_rng(0).integers(-999, 999, (150, 150, 60)).astype(np.int16)
    path = put(tmp_path / "a.nii.gz", nifti(voxels))
    assert path.stat().st_size > 2 << 20
    np.testing.assert_array_equal(read_volume_file(path).array, voxels)
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 2] ^= 1
    path.write_bytes(broken)
    assert fault_of(path).code == "damaged"


@pytest.mark.fault(
    "Volumes",
    "a truncated file",
    injected="cut at every length",
    outcome="refused at every length",
)
def test_each_cut_of_a_file_is_refused(tmp_path):
    complete = put(tmp_path / "a.nii.gz", nifti(grey())).read_bytes()
    for length in range(len(complete)):
        (tmp_path / "b.nii.gz").write_bytes(complete[:length])
        assert fault_of(tmp_path / "b.nii.gz").code in ("empty-file", "not-an-image", "truncated")


@pytest.mark.fault(
    "Volumes",
    "a pipe, a device or a link to itself as an image",
    injected="each under the name of a volume",
    outcome="one line, no hang",
)
def test_pipes_devices_and_links(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    assert fault_of(tmp_path / "pipe.nii").what == "is no regular file"
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    assert fault_of(tmp_path / "zero.nii").what == "is no regular file"
    (tmp_path / "self.nii").symlink_to(tmp_path / "self.nii")
    assert fault_of(tmp_path / "self.nii").code == "missing-file"
    put(tmp_path / "deep/a.nii", nifti(grey()))
    (tmp_path / "good.nii").symlink_to(tmp_path / "deep/a.nii")
    np.testing.assert_array_equal(read_volume_file(tmp_path / "good.nii").array, grey())


@pytest.mark.fault(
    "Privacy",
    "a link to a secret file as an image",
    injected="links in four formats",
    outcome="no byte of it is shown",
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_no_byte_of_a_file_that_is_no_image_is_shown(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"root:x:0:0:hunter2")
    (tmp_path / name).symlink_to(tmp_path / "secret")
    fault = fault_of(tmp_path / name)
    assert fault.code == "not-an-image"
    assert "starts with text" in fault.what
    assert "root" not in str(fault)
    (tmp_path / "secret").write_bytes(b"\x00\x01DOE^JOHN")
    assert "bytes of another kind" in fault_of(tmp_path / name).what
    assert "DOE" not in str(fault_of(tmp_path / name))


@pytest.mark.fault(
    "Volumes",
    "a header that cannot be",
    injected="no affine, sheared, singular, NaN, negative or zero spacing, unknown units and more",
    outcome="refused; what was found is said",
)
@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"qform_code": 0, "sform_code": 0}, "affine-invalid", "has no affine (qform and sform codes are 0)"),
        (sform(SHEARED), "affine-invalid", "the affine is sheared: two of its axes are 14.9 degrees off a right angle"),
        (sform(SINGULAR), "affine-invalid", "the affine is singular: two of its axes are parallel"),
        (sform(np.full((3, 4), np.nan)), "affine-invalid", "the affine holds NaN or Inf"),
        (sform(AFFINE * 1e30), "affine-invalid", "the affine has voxels of 3e+30 mm"),
        ({"pixdim": [1, -0.5, 0.5, 3, 0, 0, 0, 0]}, "affine-invalid", "states voxels of -0.5 x 0.5 x 3 (pixdim)"),
        ({"pixdim": [1, 0.5, 0, 3, 0, 0, 0, 0]}, "affine-invalid", "states voxels of 0.5 x 0 x 3 (pixdim)"),
        ({"pixdim": [1, 0.5, 0.5, np.nan, 0, 0, 0, 0]}, "affine-invalid", "states voxels of 0.5 x 0.5 x nan (pixdim)"),
        ({"sform_code": 0, "quatern_b": 2.0}, "not-an-image", "has a damaged NIfTI header"),
        ({"xyzt_units": 5}, "units", "unit 5 (xyzt_units), expected mm (2)"),
        ({"vox_offset": 1e9}, "truncated", "is truncated"),
        ({"vox_offset": np.nan}, "not-an-image", "has a damaged NIfTI header"),
        ({"datatype": 1536, "bitpix": 128}, "not-an-image", "has a damaged NIfTI header"),
        ({"datatype": 999}, "not-an-image", "has a damaged NIfTI header"),
        ({"dim": [3, -6, 5, 4, 1, 1, 1, 1]}, "not-an-image", "has a damaged NIfTI header"),
        ({"dim": [3, 6, 5, 3, 1, 1, 1, 1]}, None, None),
    ],
)
def test_impossible_headers(tmp_path, fields, code, words):
    path = put(tmp_path / "a.nii.gz", nifti(grey(), **fields))
    if code is None:
        # 60 bytes more than promised are padding
        assert read_volume_file(path).array.shape == (6, 5, 3)
        return
    fault = fault_of(path)
    assert fault.code == code, str(fault)
    assert words in fault.what


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((6, 5), "expected three axes"),
        ((6, 5, 4, 3), "has shape [6, 5, 4, 3], expected three axes"),
        ((6, 5, 4, 1, 3), "has shape [6, 5, 4, 1, 3], expected three axes"),
    ],
)
def test_other_dimensions(tmp_path, shape, words):
    fault = fault_of(put(tmp_path / "a.nii", nifti(np.zeros(shape, np.uint8))))
    assert fault.code == "dimensions"
    assert words in fault.what
    assert "export" in fault.remedy or "class numbers in place of a channel a class" in fault.remedy


@pytest.mark.parametrize("shape", [(6, 5, 4, 1), (6, 5, 4, 1, 1)])
def test_axes_of_length_1_after_the_third_are_dropped(tmp_path, shape):
    path = put(tmp_path / "a.nii", nifti(grey().reshape(shape)))
    np.testing.assert_array_equal(read_volume_file(path).array, grey())


def test_several_volumes_are_read_only_on_request(tmp_path):
    both = np.stack([grey(), grey() + 1], axis=-1)
    path = put(tmp_path / "a.nii", nifti(both))
    np.testing.assert_array_equal(read_volume_file(path, several=True).array, both)
    assert fault_of(path).code == "dimensions"
    one = put(tmp_path / "b.nii", nifti(grey()[..., None]))
    np.testing.assert_array_equal(read_volume_file(one, several=True).array, grey())


@pytest.mark.fault(
    "Volumes",
    "lengths in metres or micrometres",
    injected="units in the header",
    outcome="converted to mm",
)
@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (2, 1), (1, 1000), (3, 0.001), (2 | 8, 1)])
@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0)])
def test_units_are_converted_to_mm(tmp_path, unit, factor, codes):
    stored = AFFINE.copy()
    stored[:3] /= factor
    path = put(tmp_path / "a.nii", nifti(grey(), stored, xyzt_units=unit, qform_code=codes[0], sform_code=codes[1]))
    volume = read_volume_file(path)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert volume.warnings == ()


@pytest.mark.fault(
    "Volumes",
    "qform and sform disagree",
    injected="forms some mm apart",
    outcome="the sform is used, a warning says how far",
)
def test_of_two_forms_the_sform_is_used_and_said(tmp_path):
    volume = read_volume_file(put(tmp_path / "a.nii", nifti(grey(), **sform(MIRRORED))))
    np.testing.assert_array_equal(volume.affine, MIRRORED)
    assert volume.warnings == ("qform and sform lie up to 5.0 mm apart; the sform is used",)
    # of the four voxels along the third axis the last lies 3 mm higher
    shifted = read_volume_file(put(tmp_path / "b.nii", nifti(grey(), qoffset_z=3.0)))
    assert shifted.warnings == ("qform and sform lie up to 3.0 mm apart; the sform is used",)
    assert read_volume_file(put(tmp_path / "c.nii", nifti(grey(), qoffset_z=0.05))).warnings == ()


def test_a_form_alone_is_used(tmp_path):
    only_q = read_volume_file(put(tmp_path / "a.nii", nifti(grey(), sform_code=0, **sform(MIRRORED))))
    np.testing.assert_allclose(only_q.affine, AFFINE, atol=1e-6)
    only_s = read_volume_file(put(tmp_path / "b.nii", nifti(grey(), qform_code=0, **sform(MIRRORED))))
    np.testing.assert_array_equal(only_s.affine, MIRRORED)
    assert only_s.warnings == ()
    other = read_volume_file(put(tmp_path / "c.nii", nifti(grey(), qform_code=0, **sform(AFFINE * 2))))
    assert spacing_of(other.affine) == (1.0, 1.0, 6.0)
    assert other.warnings == ("pixdim states voxels of 0.5 x 0.5 x 3 mm, the sform of 1 x 1 x 6 mm; the sform is used",)


def test_a_qform_that_is_no_rotation_is_said(tmp_path):
    path = put(tmp_path / "a.nii", nifti(grey(), quatern_b=2.0))
    assert read_volume_file(path).warnings == ("the qform is no rotation; the sform is used",)


def test_tilted_volumes_have_no_false_alarm(tmp_path):
    """A quaternion of single precision is least precise near turns of 180 degrees."""
    rng = np.random.default_rng(0)
    for number in range(40):
        angle = np.pi - rng.uniform(0, 2e-3)
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        cross = np.cross(np.eye(3), axis)
        turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        affine = np.eye(4)
        affine[:3, :3] = turn * [0.5, 0.5, 3.0]
        path = put(tmp_path / f"{number}.nii", nifti(np.zeros((320, 320, 24), np.uint8), affine))
        assert read_volume_file(path).warnings == ()


def test_old_headers_with_a_qfac_of_0_are_read(tmp_path):
    path = put(tmp_path / "a.nii", nifti(grey(), np.diag([0.5, 0.5, 3, 1]), pixdim=[0, 0.5, 0.5, 3, 0, 0, 0, 0]))
    np.testing.assert_allclose(read_volume_file(path).affine, np.diag([0.5, 0.5, 3, 1]))


def test_what_nibabel_repairs_is_kept_as_stored(tmp_path):
    path = put(tmp_path / "a.nii", nifti(grey(), pixdim=[1, -0.5, 0.5, 3, 0, 0, 0, 0]))
    file = read_nifti(path)
    assert file.header["pixdim"][1] == -0.5
    assert nib.load(path).header["pixdim"][1] == 0.5


@pytest.mark.parametrize(
    ("unit", "sizes", "words"),
    [
        (2, (0.5, 0.5, 3.0), None),
        (2, (0.011, 0.011, 99.0), None),
        # mm, said to be micrometres or metres
        (3, (0.5, 0.5, 3.0), "its voxels are 0.0005 x 0.0005 x 0.003 mm"),
        (1, (0.2, 0.2, 0.9), "its voxels are 200 x 200 x 900 mm"),
    ],
)
def test_voxels_that_no_scanner_makes_are_told(tmp_path, unit, sizes, words):
    volume = read_volume_file(put(tmp_path / "a.nii.gz", nifti(grey(), np.diag([*sizes, 1.0]), xyzt_units=unit)))
    assert [warning.split(",")[0] for warning in volume.warnings] == ([] if words is None else [words])


@pytest.mark.fault(
    "Volumes",
    "an infinite slope",
    injected="`scl_slope` = Inf",
    outcome="refused",
)
def test_an_infinite_slope_is_damage_and_nan_is_no_scaling(tmp_path):
    assert "scl_slope is infinite" in str(fault_of(put(tmp_path / "a.nii.gz", nifti(grey(), scl_slope=np.inf))))
    volume = read_volume_file(put(tmp_path / "b.nii.gz", nifti(grey(), scl_slope=np.nan)))
    np.testing.assert_array_equal(volume.array, grey())
