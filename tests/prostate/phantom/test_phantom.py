# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import json

import nibabel as nib
import numpy as np
import pytest

from akd_monai.data import SITES, read_cases
from akd_monai.data.manifest import Manifest
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.prostate.phantom import ACQUISITIONS, make_case, make_phantom
from akd_monai.prostate.phantom._gland import draw_gland

SMALL = {"size": 48, "slices": 6, "progress": False}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "set", cases_per_site=2, **SMALL)


def test_layout_and_manifest(phantom):
    cases = read_cases(phantom)
    assert [case["case_id"] for case in cases] == [f"{s.name}/Case0{n}" for s in SITES for n in range(2)]
    manifest = json.loads((phantom / "manifest.json").read_text())
    assert manifest["synthetic"] is True
    assert "SYNTHETIC" in manifest["note"]
    assert manifest["parameters"] == {"phantom_version": 1, "seed": 0, "size": 48, "slices": 6}
    assert {record["case_id"] for record in manifest["cases"]} == {case["case_id"] for case in cases}


def test_files_have_the_geometry_of_their_site(phantom):
    for case in read_cases(phantom):
        image, label = nib.load(case["image"]), nib.load(case["label"])
        model = ACQUISITIONS[case["site"]]
        assert image.shape == label.shape == (48, 48, 6)
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        np.testing.assert_allclose(
            image.header.get_zooms(), [model.field_of_view / 48] * 2 + [model.slab / 6], rtol=1e-5
        )
        np.testing.assert_array_equal(image.affine, label.affine)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header["qform_code"] == image.header["sform_code"] == 1
        centre = image.affine @ [23.5, 23.5, 2.5, 1]
        assert np.abs(centre[:2]).max() < 1e-3
        mask = np.asarray(label.dataobj)
        assert set(np.unique(mask)) == {0, 1}
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()
        assert np.asarray(image.dataobj).std() > 0


def test_native_spacing_of_the_sites_is_within_their_table():
    for s in SITES:
        model = ACQUISITIONS[s.name]
        assert s.through_plane_mm[0] - 0.05 <= model.slab / model.slices <= s.through_plane_mm[1] + 0.05
        assert (model.near_field > 0) is (s.coil == "endorectal")


def test_glands_are_plausible():
    volumes: dict[bool, list[float]] = {True: [], False: []}
    for coil in volumes:
        for number in range(60):
            gland = draw_gland(np.random.default_rng(number), coil, longest_mm=60)
            axis = np.arange(-60, 60, 1.5, dtype=np.float32)
            heights = np.arange(-gland.length / 2 + 1, gland.length / 2, 2.0)
            inside = [np.count_nonzero(gland.radius(axis[:, None], axis[None], z) < 1) for z in heights]
            volumes[coil].append(sum(inside) * 1.5**2 * 2.0 / 1000)
            assert gland.length <= 60
            assert 25 < gland.width < 95
            # largest in the middle third or so, smaller at both ends
            assert max(inside[0], inside[-1]) < max(inside)
    everything = np.concatenate(list(volumes.values()))
    assert 15 < everything.min() < everything.max() < 120
    # the medians of the real labels are 66 without and 32 with the coil
    assert 50 < np.median(volumes[False]) < 85
    assert 25 < np.median(volumes[True]) < 45


def test_a_case_depends_on_seed_site_and_number_alone(phantom, tmp_path):
    other = make_phantom(tmp_path / "other", cases_per_site={"hk": 2}, sites="S6", **SMALL)
    for name in ("Case01.nii.gz", "Case01_segmentation.nii.gz"):
        assert (other / "HK" / name).read_bytes() == (phantom / "HK" / name).read_bytes()
    image, label, affine = make_case("HK", 1, size=48, slices=6)
    stored = nib.load(phantom / "HK" / "Case01.nii.gz")
    np.testing.assert_array_equal(image, np.asarray(stored.dataobj))
    np.testing.assert_allclose(affine, stored.affine, rtol=1e-6)
    for changed in (make_case("HK", 0, size=48, slices=6), make_case("HK", 1, size=48, slices=6, seed=1)):
        assert not np.array_equal(changed[1], label)


def test_the_same_patient_at_any_resolution():
    volumes = []
    for size, slices in ((64, 12), (128, 24)):
        _, label, affine = make_case("RUNMC", 3, size=size, slices=slices)
        volumes.append(label.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    assert volumes[0] == pytest.approx(volumes[1], rel=0.08)


def test_a_second_call_continues_where_the_first_stopped(tmp_path):
    root = make_phantom(tmp_path / "set", cases_per_site=1, sites=["HK"], **SMALL)
    first = root / "HK" / "Case00.nii.gz"
    before, content = first.stat().st_mtime_ns, first.read_bytes()
    make_phantom(root, cases_per_site=2, sites=["HK", "BMC"], **SMALL)
    assert first.stat().st_mtime_ns == before
    assert len(read_cases(root)) == 4
    first.write_bytes(content[:100])  # as after a crash of another program
    make_phantom(root, cases_per_site=1, sites=["HK"], **SMALL)
    assert first.read_bytes() == content
    assert len(json.loads((root / "manifest.json").read_text())["cases"]) == 4


def test_two_processes_draw_what_one_draws(tmp_path):
    make_phantom(tmp_path / "one", cases_per_site=1, sites="HK,UCL,BMC", **SMALL)
    make_phantom(tmp_path / "two", cases_per_site=1, sites="HK,UCL,BMC", workers=2, **SMALL)
    one, two = (
        {p.relative_to(tmp_path / name).as_posix(): p.read_bytes() for p in (tmp_path / name).rglob("[!.]*.*")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 7


def test_a_call_stopped_during_its_first_case_can_be_repeated(tmp_path, monkeypatch):
    def stopped(manifest, write=Manifest.write):
        write(manifest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            make_phantom(tmp_path, cases_per_site=1, sites="HK", **SMALL)
    assert (tmp_path / "manifest.json").is_file()
    leftover = tmp_path / f".tmp-{2**22 + 1}-ab"  # no process has so high a number
    leftover.write_bytes(b"left by a killed run")
    assert [case["case_id"] for case in read_cases(make_phantom(tmp_path, cases_per_site=1, sites="HK", **SMALL))] == [
        "HK/Case00"
    ]
    assert not leftover.exists()


def test_a_lock_and_other_hidden_files_do_not_make_a_folder_full(tmp_path):
    for name in (".lock", ".DS_Store"):
        (tmp_path / name).write_text("1234")
    root = make_phantom(tmp_path, cases_per_site=1, sites="HK", **SMALL)
    assert (root / ".lock").is_file()
    first = {path: path.stat().st_mtime_ns for path in (root / "HK").iterdir()}
    make_phantom(root, cases_per_site=2, sites="HK", **SMALL)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(read_cases(root)) == 2


@pytest.mark.parametrize(
    "record", [{"sha256": "abc"}, {"sha256": {}}, {"image": 5, "sha256": {"image": "", "label": ""}}]
)
def test_a_case_whose_record_is_damaged_is_drawn_again(phantom, tmp_path, record):
    root = make_phantom(tmp_path / "set", cases_per_site=1, sites="HK", **SMALL)
    content = json.loads((root / "manifest.json").read_text())
    good = content["cases"][0]
    content["cases"] = [{"case_id": "HK/Case00", "patient_id": "x", **record}]
    (root / "manifest.json").write_text(json.dumps(content))
    make_phantom(root, cases_per_site=1, sites="HK", **SMALL)
    assert json.loads((root / "manifest.json").read_text())["cases"] == [good]


def test_a_manifest_without_its_parameters_is_named(tmp_path):
    for value in (None, 5, []):
        content = {"format": "akd_monai.prepared", "version": 1, "synthetic": True, "parameters": value, "cases": []}
        (tmp_path / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"manifest\.json: is damaged: 'parameters' must be an object"):
            make_phantom(tmp_path, **SMALL)


@pytest.mark.parametrize("module", ["akd_monai.data", "akd_monai.data.phantom", "akd_monai.prostate"])
def test_the_phantom_is_found_under_its_old_names(module):
    assert importlib.import_module(module).make_phantom is make_phantom


def test_other_parameters_need_another_folder(phantom):
    with pytest.raises(InputError, match=r"other parameters \(seed 0 there, 1 now\)"):
        make_phantom(phantom, cases_per_site=1, seed=1, **SMALL)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no synthetic set"):
        make_phantom(tmp_path, **SMALL)
    (tmp_path / "manifest.json").write_text('{"format": "akd_monai.prepared", "version": 1, "cases": []}')
    with pytest.raises(InputError, match="holds a set that is not synthetic"):
        make_phantom(tmp_path, **SMALL)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json: is no valid JSON"):
        make_phantom(tmp_path, **SMALL)
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"size": 16}, "size must be at least 32"),
        ({"slices": 2}, "slices must be at least 4"),
        ({"cases_per_site": 0}, "cases_per_site must be at least 1"),
        ({"cases_per_site": "many"}, "cases_per_site must be an integer from 0 up for each site, got 'many'"),
        ({"cases_per_site": {"HK": 1.5}}, "cases_per_site must be an integer from 0 up for each site, got 1.5"),
        ({"sites": []}, "sites is empty"),
        ({"workers": -2}, "workers must be .* got -2"),
        ({"size": "big"}, "size must be an integer, got 'big'"),
        ({"seed": None}, "seed must be an integer, got None"),
        ({"seed": -1}, "seed must be at least 0, as that of a training, got -1"),
    ],
)
def test_numbers_out_of_range(tmp_path, how, message):
    with pytest.raises(InputError, match=message):
        make_phantom(tmp_path / "new", **{**SMALL, **how})
    assert not (tmp_path / "new").exists()
    with pytest.raises(UnknownNameError, match="unknown site 'HKK'"):
        make_phantom(tmp_path / "new", sites=["HKK"], **SMALL)


def signature(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What a network sees of a site after normalisation: grey values in and around the gland, near field, noise."""
    scaled = (image - image.mean()) / image.std()
    inside = label > 0
    rows = np.nonzero(inside.any(axis=(0, 2)))[0]
    behind, front = scaled[:, rows[-1] + 2 : rows[-1] + 12], scaled[:, max(rows[0] - 14, 0) : rows[0] - 4]
    noise = np.abs(np.diff(scaled, axis=0)).mean()
    return np.array([scaled[inside].mean(), behind.mean(), front.mean(), noise, *np.percentile(scaled, [5, 50, 95])])


def test_the_sites_differ_more_than_the_cases_of_a_site():
    found = {
        s.name: np.array([signature(*make_case(s.name, n, size=64, slices=6)[:2]) for n in range(5)]) for s in SITES
    }
    spread = np.sqrt(np.mean([values.var(axis=0) for values in found.values()], axis=0))
    right = 0
    for name, values in found.items():
        for left_out, value in enumerate(values):
            centres = {
                other: (np.delete(v, left_out, axis=0) if other == name else v).mean(axis=0)
                for other, v in found.items()
            }
            right += name == min(centres, key=lambda c, v=value: np.abs((centres[c] - v) / spread).sum())
    assert right >= 21  # of 30; by chance it would be 5


def test_an_endorectal_coil_lights_up_what_is_near_it():
    ratios: dict[str, list[float]] = {"endorectal": [], "other": []}
    for s in SITES:
        for number in range(3):
            image, label, _ = make_case(s.name, number, size=64, slices=6)
            middle = int(np.argmax(label.sum(axis=(0, 1))))
            columns, rows = np.nonzero(label[..., middle])
            grey, cx, back = image[..., middle].astype(float), int(columns.mean()), rows.max()
            far = np.concatenate([grey[:8, 16:48].ravel(), grey[-8:, 16:48].ravel()]).mean()
            kind = "endorectal" if s.coil == "endorectal" else "other"
            ratios[kind].append(float(grey[cx - 2 : cx + 3, back - 3 : back].mean() / far))
    assert np.median(ratios["endorectal"]) > 2 * np.median(ratios["other"]), ratios


def test_patients_of_different_sites_are_different():
    def volumes(name: str) -> list[float]:
        found = (make_case(name, number, size=48, slices=8) for number in range(3))
        return [float(label.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000) for _, label, affine in found]

    assert volumes("RUNMC") != pytest.approx(volumes("I2CVB"), rel=0.15)


def test_zones_and_surroundings_have_t2_contrast():
    image, label, _ = make_case("RUNMC", 1, size=96, slices=10)
    middle = int(np.argmax(label.sum(axis=(0, 1))))
    gland = label[..., middle] > 0
    grey = image[..., middle].astype(float)
    columns, rows = np.nonzero(gland)
    cx, low, high = int(columns.mean()), rows.min(), rows.max()
    front, back = grey[cx - 3 : cx + 4, low + 2 : low + 5].mean(), grey[cx - 3 : cx + 4, high - 3 : high].mean()
    assert back > 1.3 * front  # peripheral zone above fibromuscular stroma
