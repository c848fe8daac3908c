"""MTZ files as gemmi reads them back; against DIALS's export of the same observations."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "merging"))
from scaled_case import Cell, simulated, unmerged_mtz

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.io.mtz import write_merged, write_unmerged
from hdrmx.io.mtz_batches import Sweep, batch_offsets, cambridge_frame, cells
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan
from hdrmx.params import Merge
from hdrmx.stages.merge import merge

GROUP = "P 21 21 21"
CELL: Cell = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0)
A = np.diag([1 / 40, 1 / 50, 1 / 60])


def sweep(n: int = 10, first: int = 0, width_deg: float = 0.5, wavelength_A: float = 0.98, **crystal: object) -> Sweep:
    panel = Panel("p", (1000, 900), (0.075, 0.075), (-33.0, 37.0, -123.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    scan = Scan(first, n, np.radians(30.0), np.radians(width_deg))
    geometry = Geometry(Beam(wavelength_A), Detector((panel,)), Goniometer(), scan)
    return Sweep(geometry, Crystal(tuple(map(tuple, A.tolist())), mosaicity_rad=np.radians(0.1), **crystal))  # type: ignore[arg-type]


def rotated(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.fixture(scope="module")
def scaled() -> pd.DataFrame:
    table, _ = simulated(d_min=4.0)
    table["frame"] = np.linspace(0.1, 9.9, len(table))
    table["frame_obs"] = table["frame"] + 0.01
    table["fast_obs"], table["slow_obs"], table["lp"], table["qe"] = 12.5, 34.5, 0.5, 0.9
    table["scale"], table["scale_sigma"] = 1.25, 0.02
    return table


def read(path: Path) -> tuple[gemmi.Mtz, pd.DataFrame]:
    mtz = gemmi.read_mtz_file(str(path))
    return mtz, pd.DataFrame(np.array(mtz.array), columns=mtz.column_labels())


def test_observations_come_back(tmp_path: Path, scaled: pd.DataFrame) -> None:
    written = write_unmerged(tmp_path / "u.mtz", scaled, [sweep()], GROUP, CELL)
    mtz, found = read(tmp_path / "u.mtz")
    assert (written.reflections, written.batches, written.ranges) == (len(scaled), 10, ((1, 10),))
    labels = "H K L M/ISYM BATCH I SIGI SCALEUSED SIGSCALEUSED BG SIGBG FRACTIONCALC XDET YDET ROT LP QE"
    assert " ".join(mtz.column_labels()) == labels
    assert mtz.spacegroup.xhm() == GROUP
    assert mtz.cell.parameters == pytest.approx(CELL)
    assert mtz.datasets[-1].wavelength == pytest.approx(0.98)
    np.testing.assert_allclose(found["I"], scaled["intensity"], rtol=1e-6)
    np.testing.assert_allclose(found["ROT"], 30 + 0.5 * scaled["frame"], rtol=1e-6)
    assert (found["BATCH"] == np.floor(scaled["frame_obs"]) + 1).all()
    assert mtz.switch_to_original_hkl()
    assert (np.array(mtz.array)[:, :3] == scaled[["h", "k", "l"]].to_numpy()).all()


def test_merging_the_file_gives_what_merging_the_table_gives(tmp_path: Path, scaled: pd.DataFrame) -> None:
    write_unmerged(tmp_path / "u.mtz", scaled, [sweep()], GROUP, CELL)
    again = merge(*unmerged_mtz(tmp_path / "u.mtz"), Merge(shells=5))
    direct = merge(scaled, GROUP, CELL, Merge(shells=5))
    np.testing.assert_allclose(again.table.intensity, direct.table.intensity, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(again.shells.r_meas, direct.shells.r_meas, rtol=1e-4)


def test_every_frame_has_its_header(tmp_path: Path, scaled: pd.DataFrame) -> None:
    points = np.array([rotated(0.001 * i) @ A / (1 + 0.0001 * i) for i in range(11)])
    write_unmerged(tmp_path / "u.mtz", scaled, [sweep(A_at_scan_points=points)], GROUP, CELL)
    batches = list(read(tmp_path / "u.mtz")[0].batches)
    assert [b.number for b in batches] == list(range(1, 11))
    for i, b in enumerate(batches):
        floats = np.array(b.floats)
        assert floats[:6] == pytest.approx([*(x * (1 + 0.0001 * (i + 0.5)) for x in CELL[:3]), 90, 90, 90], rel=1e-6)
        assert floats[36:38] == pytest.approx([30 + 0.5 * i, 30.5 + 0.5 * i])
        assert floats[47] == pytest.approx(0.5)
        u = floats[6:15].reshape(3, 3).T
        to_lab = cambridge_frame(sweep().geometry).T
        np.testing.assert_allclose(to_lab @ u, rotated(0.001 * (i + 0.5)), atol=1e-6)
        np.testing.assert_allclose(floats[38:41], (0, 0, 1), atol=1e-7)  # axis along z
        np.testing.assert_allclose(floats[83:86], (-1, 0, 0), atol=1e-7)  # the source is towards -x
        assert floats[86] == pytest.approx(0.98)
        assert (floats[111], floats[114], floats[116]) == pytest.approx((123.0, 900.0, 1000.0))
        assert floats[21] == pytest.approx(0.1)
        assert (b.dataset_id, list(b.axes), b.title) == (1, ["AXIS"], f"TITLE Batch {i + 1}")


def test_sweeps_have_their_own_batches_and_wavelengths(tmp_path: Path, scaled: pd.DataFrame) -> None:
    table = scaled.assign(sweep=np.arange(len(scaled), dtype=np.int32) % 3)
    sweeps = [sweep(), sweep(), sweep(wavelength_A=1.1)]
    written = write_unmerged(tmp_path / "u.mtz", table, sweeps, GROUP, CELL)
    mtz, found = read(tmp_path / "u.mtz")
    assert written.ranges == ((1, 10), (101, 110), (201, 210))
    assert [d.wavelength for d in mtz.datasets] == pytest.approx([0.98, 1.1])
    assert [b.dataset_id for b in mtz.batches] == [1] * 20 + [2] * 10
    assert (found["BATCH"] // 100 == table["sweep"]).all()
    assert set(found["BATCH"]) <= {b.number for b in mtz.batches}


@pytest.mark.parametrize(
    ("scans", "offsets"),
    [
        ([(0, 36)] * 3, [0, 100, 200]),
        ([(0, 100), (100, 50)], [0, 100]),  # adjoining numbers would read as one sweep
        ([(0, 100), (199, 50)], [0, 0]),
        ([(0, 99), (0, 5)], [0, 100]),
        ([(50, 10), (0, 10), (55, 10)], [0, 0, 45]),
    ],
)
def test_offsets(scans: list[tuple[int, int]], offsets: list[int]) -> None:
    assert batch_offsets([Scan(first, n, 0.0, 0.01) for first, n in scans]) == offsets


def test_many_sweeps_make_one_header_a_frame(tmp_path: Path, scaled: pd.DataFrame) -> None:
    written = write_unmerged(tmp_path / "u.mtz", scaled, [sweep(36)] * 400, GROUP, CELL)
    numbers = [b.number for b in read(tmp_path / "u.mtz")[0].batches]
    assert written.batches == len(numbers) == len(set(numbers)) == 400 * 36
    assert numbers == sorted(numbers)


def test_merged_file(tmp_path: Path, scaled: pd.DataFrame) -> None:
    result = merge(scaled, GROUP, CELL, Merge())
    assert write_merged(tmp_path / "m.mtz", result, 0.98) == len(result.table)
    mtz, found = read(tmp_path / "m.mtz")
    types = {c.label: c.type for c in mtz.columns}
    labels = "H K L FreeR_flag IMEAN SIGIMEAN I(+) SIGI(+) I(-) SIGI(-) N(+) N(-) F SIGF F(+) SIGF(+) F(-) SIGF(-)"
    assert " ".join(types) == labels + " DANO SIGDANO"
    assert "".join(types.values()) == "HHHIJQKMKMIIFQGLGLDQ"
    assert len(mtz.batches) == 0
    np.testing.assert_allclose(found["IMEAN"], result.table.intensity, rtol=1e-6)
    np.testing.assert_allclose(found["F"], result.table.f, rtol=1e-6)
    centric = result.table.centric.to_numpy()
    assert found["I(-)"][centric].isna().all()
    assert found["DANO"][centric].isna().all()
    assert found["I(+)"][centric].notna().all()
    both = (found["F(+)"] - found["F(-)"])[found["DANO"].notna()]
    np.testing.assert_allclose(both, found["DANO"].dropna(), atol=1e-4)
    assert set(found["FreeR_flag"]) <= set(range(20))
    intensities = gemmi.Intensities()
    intensities.import_mtz(mtz, gemmi.DataType.Mean)
    assert len(intensities) == len(result.table)


def test_profile_intensities_stand_beside_sums(tmp_path: Path, scaled: pd.DataFrame) -> None:
    unscaled = scaled.assign(scale=1.0, rejected=np.arange(len(scaled)) % 5 == 0)
    profile = pd.DataFrame({"intensity": scaled["intensity"] + 1, "sigma": scaled["sigma"]})
    write_unmerged(tmp_path / "u.mtz", unscaled, [sweep()], GROUP, CELL, profile=profile)
    mtz, found = read(tmp_path / "u.mtz")
    assert mtz.column_labels()[5:10] == ["I", "SIGI", "IPR", "SIGIPR", "BG"]
    np.testing.assert_allclose(found["IPR"], found["I"] + 1, rtol=1e-4)
    assert len(found) == (~unscaled["rejected"]).sum()


def test_cells_of_many_bases() -> None:
    found = cells(np.array([A, 2 * A]))
    np.testing.assert_allclose(found, [CELL, (20, 25, 30, 90, 90, 90)])


def test_bad_input_is_named(tmp_path: Path, scaled: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="nothing to write"):
        write_unmerged(tmp_path / "u.mtz", scaled.assign(rejected=True), [sweep()], GROUP, CELL)
    with pytest.raises(InputError, match="sweep 1, of 1"):
        write_unmerged(tmp_path / "u.mtz", scaled.assign(sweep=np.int32(1)), [sweep()], GROUP, CELL)
    with pytest.raises(InputError, match="can't be written"):
        write_unmerged(tmp_path / "no" / "u.mtz", scaled, [sweep()], GROUP, CELL)
    along = dataclasses.replace(sweep().geometry, goniometer=Goniometer(axis=(0.0, 0.0, 1.0)))
    with pytest.raises(InputError, match="along the beam"):
        write_unmerged(tmp_path / "u.mtz", scaled, [Sweep(along, sweep().crystal)], GROUP, CELL)
    with pytest.raises(InputError, match="batch numbers"):
        batch_offsets([Scan(0, 1 << 23, 0.0, 0.01)] * 2)
    assert not list(tmp_path.iterdir())


def _from_dials(path: Path) -> pd.DataFrame:
    from hdrmx.io.dials import read_refl

    v = read_refl(path).columns.values
    good = (v["flags"].astype(np.int64) & (1 << 8)) > 0
    table = tables.empty(tables.SCALED, len(good))
    for axis, letter in enumerate("hkl"):
        table[letter] = v["miller_index"][:, axis].astype(np.int32)
    qe = v.get("qe", np.ones(len(good)))
    factor = v["lp"] / qe / v["partiality"]
    table["intensity"] = v["intensity.sum.value"] * factor
    table["sigma"] = np.sqrt(v["intensity.sum.variance"]) * factor
    table["scale"], table["lp"], table["qe"], table["partiality"] = 1.0, v["lp"], qe, v["partiality"]
    table["frame"], table["frame_obs"] = v["xyzcal.px"][:, 2], v["xyzobs.px.value"][:, 2]
    table["fast_obs"], table["slow_obs"] = v["xyzobs.px.value"][:, 0], v["xyzobs.px.value"][:, 1]
    table["background"] = v["background.sum.value"]
    table["background_sigma"] = np.sqrt(v["background.sum.variance"])
    table["rejected"] = ~good
    return table


@pytest.mark.dials
def test_dials_exports_the_same(tmp_path: Path, shared_data: Path) -> None:
    from hdrmx.io.dials_models import read_expt

    folder = shared_data / "ref_quartz_processed"
    models, reflections = folder / "integrated.expt", folder / "integrated.refl"
    subprocess.run(
        ["dials.export", models, reflections, "mtz.hklout=theirs.mtz", "intensity=sum", "partiality_threshold=0"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    theirs, their_rows = read(tmp_path / "theirs.mtz")
    experiment = read_expt(models)[0]
    sweeps = [Sweep(experiment.geometry, experiment.crystal)]
    observations = _from_dials(reflections)
    cell = theirs.cell.parameters
    write_unmerged(tmp_path / "ours.mtz", observations, sweeps, theirs.spacegroup.xhm(), cell)
    ours, our_rows = read(tmp_path / "ours.mtz")
    assert ours.column_labels() == theirs.column_labels()
    assert len(ours.batches) == len(theirs.batches)
    for mine, other in zip(ours.batches, theirs.batches):
        assert (mine.number, mine.title, list(mine.axes)) == (other.number, other.title, list(other.axes))
        assert list(mine.ints) == list(other.ints)
        np.testing.assert_allclose(list(mine.floats), list(other.floats), atol=2e-5)
    key = ["H", "K", "L", "BATCH", "XDET", "YDET", "ROT"]
    joined = our_rows.merge(their_rows, on=key, suffixes=("", "_theirs"))
    assert len(joined) >= 0.99 * len(their_rows)
    # partials of one reflection, which DIALS adds up, have another fraction there
    alone = (joined["FRACTIONCALC"] - joined["FRACTIONCALC_theirs"]).abs() < 1e-5
    assert alone.mean() > 0.97
    joined = joined[alone]
    for label in ("I", "SIGI", "LP", "QE", "BG", "SIGBG"):
        np.testing.assert_allclose(joined[label], joined[f"{label}_theirs"], rtol=1e-5, atol=1e-4, err_msg=label)
