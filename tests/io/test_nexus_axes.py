"""Chains of axes and units against the package nxmx, on real masters, simulated sets and made-up geometries."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import nxmx
import pytest
from nxmx_cases import CASES, write_case
from nxmx_fixture import Axis, Header, counts, write_nxmx
from scipy.spatial.transform import Rotation

from hdrmx.errors import InputError
from hdrmx.io.nexus_axes import chain, cumulative, read_axis, rotations
from hdrmx.io.nexus_header import as_text, find_class
from hdrmx.io.nexus_units import _SYMBOLS, _WORDS, factor

REAL = (
    "eiger_nxmx_metadata/ansto_mx3_example_1_master.h5",
    "eiger_nxmx_metadata/nexgen_xrc_209_master.h5",
    "cinchonine_3ded/nxmx_A_001_200/cinchonine_master.h5",
    "sim_dense_P212121/dense_P212121_master.h5",
    "sim_sparse_I222/sparse_I222_master.h5",
)
CLASSES = ("NXentry", "NXdata", "NXinstrument", "NXdetector", "NXdetector_module", "NXbeam", "NXsample", "NXsource")
BASE = {"length": "mm", "angle": "rad", "time": "s", "energy": "eV", "rate": "Hz"}
FOREIGN = {"A", "ev", "kev", "s-1", "ph/s", "photon/s", "photons/s", "/s", "mdeg"}  # no names of these units in pint


@pytest.fixture(autouse=True)
def double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """nxmx calculates in the precision in which the file keeps an axis; here in double precision, as we do."""

    def values(axis: nxmx.NXtransformationsAxis, key: object) -> object:
        return np.atleast_1d(axis._handle)[key].astype(float) * axis.units

    monkeypatch.setattr(nxmx.NXtransformationsAxis, "__getitem__", values)


def same_as_nxmx(path: Path) -> int:
    """Every axis of a file: vector, values, offset and cumulative transformation; returns how many there were."""
    compared = 0
    with h5py.File(path, "r", locking=False) as file:
        data: list[h5py.Dataset] = []
        groups: list[h5py.Group] = [file]
        file.visititems(lambda _, found: (data if isinstance(found, h5py.Dataset) else groups).append(found))
        for group in groups:
            for name in CLASSES:
                assert [g.name for g in find_class(group, name)] == [g.name for g in nxmx.find_class(group, name)]
        for one in data:
            if "vector" not in one.attrs or "depends_on" not in one.attrs:
                continue
            theirs, ours = nxmx.NXtransformationsAxis(one), read_axis(one, path)
            unit = {"rotation": "rad", "translation": "mm"}[ours.kind]
            assert ours.values(unit) == pytest.approx(theirs[()].to(unit).magnitude, rel=1e-12)
            if theirs.offset is not None and np.any(theirs.offset):
                assert ours.offset_mm() == pytest.approx(theirs.offset.to("mm").magnitude, rel=1e-12)
            axes, their_axes = chain(one.parent, one.name, path), nxmx.get_dependency_chain(theirs)
            assert [a.name for a in axes] == [a.path for a in their_axes]
            np.testing.assert_allclose(
                cumulative(axes), nxmx.get_cumulative_transformation(their_axes), rtol=1e-12, atol=1e-12
            )
            compared += 1
    return compared


@pytest.mark.parametrize("name", REAL)
def test_axes_of_real_and_simulated_masters(name: str, shared_data: Path) -> None:
    assert same_as_nxmx(shared_data / name) >= 5


def test_axes_of_a_master_whose_angles_are_in_a_file_of_their_own(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "eiger_nxmx_metadata"
    master = tmp_path / "dls_i03_ins_8_5.nxs"
    master.write_bytes((folder / master.name).read_bytes())
    with gzip.open(folder / "dls_i03_ins_8_5_meta.h5.gz") as meta:
        (tmp_path / "ins_8_5_meta.h5").write_bytes(meta.read())
    assert same_as_nxmx(master) >= 8


@pytest.mark.parametrize("name", CASES)
def test_axes_of_made_up_geometries(name: str, tmp_path: Path) -> None:
    assert same_as_nxmx(write_case(name, tmp_path)) >= 4


def test_an_offset_without_a_unit_has_that_of_the_values(tmp_path: Path) -> None:
    """As files of DLS have it; and vectors that are not of unit length turn, and shift, by more."""
    arm = (
        Axis("tilt", "rotation", (0.3, -0.2, 1.1), 0.7, "rad", offset=(0.0, 0.0, 0.0), offset_units=""),
        Axis("det_z", "translation", (0.1, 0.0, 1.2), 12.0, "cm", offset=(1.0, 2.0, 3.0), offset_units=""),
    )
    path = write_nxmx(tmp_path / "made.nxs", counts((2, 12, 20)), layout="single", header=Header(arm=arm))
    with h5py.File(path, "r+") as file:
        for name in ("tilt", "det_z"):
            del file[f"/entry/instrument/detector/transformations/{name}"].attrs["offset_units"]
    assert same_as_nxmx(path) >= 6
    with h5py.File(path) as file:
        assert read_axis(file["/entry/instrument/detector/transformations/det_z"], path).offset_mm()[2] == 30.0


@pytest.mark.parametrize("unit", sorted({*_SYMBOLS, *_WORDS} - FOREIGN))
def test_every_unit_is_what_pint_makes_of_it(unit: str) -> None:
    kind = (_SYMBOLS.get(unit) or _WORDS[unit])[0]
    theirs = nxmx.ureg.Quantity(1.0, nxmx.ureg.Unit(unit)).to(BASE[kind]).magnitude
    assert factor(unit, BASE[kind], "x", "file") == pytest.approx(theirs, rel=1e-12)


def test_units_that_pint_knows_by_other_names() -> None:
    expected = {"A": 1e-7, "mdeg": np.pi / 180e3, "ev": 1.0, "kev": 1e3}
    for unit in FOREIGN:
        kind = _SYMBOLS[unit][0]
        assert factor(unit, BASE[kind], "x", "file") == pytest.approx(expected.get(unit, 1.0), rel=1e-12)
    for unit in ("Angstrom", "ANGSTROMS", "Degrees", "Millimeters"):
        assert factor(unit, unit[0] if unit[0] == "A" else {"D": "deg", "M": "mm"}[unit[0]], "x", "f") == 1.0


def test_factors_between_common_units_are_exact() -> None:
    for stated, wanted, expected in (
        ("m", "mm", 1000.0),
        ("nm", "A", 10.0),
        ("um", "mm", 0.001),
        ("keV", "eV", 1000.0),
    ):
        assert factor(stated, wanted, "x", "file") == expected


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ("", "/entry/x has no units; it takes the attribute units, as 'mm'"),
        ("Mm", "/entry/x has the unit 'Mm', which is not known; give its length in 'mm'"),
        ("keV", "/entry/x has the unit 'keV', which is of energy and not of length; give it in 'mm'"),
    ],
)
def test_units_that_do_not_fit_are_refused_by_name(stated: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        factor(stated, "mm", "/entry/x", "made.nxs")
    assert str(caught.value) == f"made.nxs: {reason}"


def test_texts_of_every_kind() -> None:
    for value in ("mm ", b"mm", np.bytes_(b"mm"), np.str_("mm"), np.array([b"mm"]), np.array(["mm"], object)):
        assert as_text(value) == "mm"
    assert (as_text(b"\xc5"), as_text("Å".encode()), as_text(None), as_text(np.array([], object))) == ("Å", "Å", "", "")


def test_rotations_are_those_of_scipy() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 3)) * np.logspace(-9, 1, 50)[:, None]
    vectors[7] = 0.0
    np.testing.assert_allclose(rotations(vectors), Rotation.from_rotvec(vectors).as_matrix(), rtol=0, atol=1e-14)


def test_axes_of_different_lengths_are_refused(tmp_path: Path) -> None:
    axes = (
        Axis("det_x", "translation", (1.0, 0.0, 0.0), np.arange(2.0), "mm"),
        Axis("det_z", "translation", (0.0, 0.0, 1.0), np.arange(3.0), "mm"),
    )
    path = write_nxmx(tmp_path / "made.nxs", counts((2, 12, 20)), layout="single", header=Header(arm=axes))
    with h5py.File(path) as file, pytest.raises(InputError, match=r"det_x and .*det_z have 2 and 3 values"):
        cumulative(chain(file["/entry/instrument/detector/transformations"], "det_x", path))
