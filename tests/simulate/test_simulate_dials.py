"""Simulated files in DIALS: the same geometry and pixels, and spots where the truth has them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulate_cases import frames_of, mask_of, tiny

from hdrmx.models import cell_of
from hdrmx.params import Simulate
from hdrmx.simulate import read_truth, simulate
from hdrmx.simulate.geometry import build

pytestmark = pytest.mark.dials
PYTHON = "/usr/bin/python3"  # the interpreter of Debian's DIALS

SHOW = """
import glob, json, sys
import numpy as np
from dxtbx.model.experiment_list import ExperimentListFactory
experiments = ExperimentListFactory.from_filenames(sorted(glob.glob(sys.argv[1])))
e = experiments[0]
panel, imageset = e.detector[0], e.imageset
data = np.array([imageset.get_raw_data(k)[0].as_numpy_array() for k in range(len(imageset))])
np.savez(sys.argv[2], data=data, mask=imageset.get_mask(0)[0].as_numpy_array())
print(json.dumps(dict(
    origin=panel.get_origin(), fast=panel.get_fast_axis(), slow=panel.get_slow_axis(), pixel=panel.get_pixel_size(),
    size=panel.get_image_size(), thickness=panel.get_thickness(), mu=panel.get_mu(), trusted=panel.get_trusted_range(),
    wavelength=e.beam.get_wavelength(), axis=e.goniometer.get_rotation_axis(), n=len(experiments),
    oscillation=e.scan.get_oscillation() if e.scan else None, images=e.scan.get_image_range() if e.scan else None)))
"""

REFINED = """
import json, sys
import numpy as np
from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentListFactory
e = ExperimentListFactory.from_json_file("integrated.expt", check_format=False)[0]
r = flex.reflection_table.from_file("integrated.refl")
r = r.select(r.get_flags(r.flags.integrated_sum))
np.savez("out.npz", xyz=np.array(r["xyzcal.px"]), intensity=np.array(r["intensity.sum.value"]),
         variance=np.array(r["intensity.sum.variance"]))
print(json.dumps(dict(A=e.crystal.get_A(), sigma_m=e.profile.sigma_m(deg=True))))
"""


def run(*command: str, cwd: Path | None = None) -> str:
    if shutil.which("dials.import") is None:
        pytest.skip("DIALS is not installed")
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vds": ("x.nxs", {"frames_per_file": 5}),
    "links": ("x_master.h5", {"layout": "links"}),
    "single": ("x.nxs", {"layout": "single", "dtype": "uint32"}),
    "swung": ("x.nxs", {"two_theta_deg": 20.0, "axis": "0.1,-0.9,0.3", "start_deg": -33.0}),
    "lies": ("x.nxs", {"header_fast_px": 3.0, "header_slow_px": -2.0, "header_distance_mm": 1.0}),
    "cbf": ("x.cbf", {"start_deg": 12.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_geometry_and_pixels_are_read_back(tmp_path: Path, case: str) -> None:
    name, changes = CASES[case]
    settings = tiny(background=0.5, dead_fraction=0.01, **changes)
    path = simulate(settings, tmp_path / name).data
    pattern = str(tmp_path / "x_*.cbf") if case == "cbf" else str(path)
    theirs = json.loads(run(PYTHON, "-c", SHOW, pattern, str(tmp_path / "out.npz")).splitlines()[-1])
    _, told = build(settings)
    panel, scan, goniometer = told.detector.panels[0], told.scan, told.goniometer
    assert scan is not None
    assert goniometer is not None
    ours = {
        "origin": panel.origin_mm,
        "fast": panel.fast_axis,
        "slow": panel.slow_axis,
        "pixel": panel.pixel_mm,
        "size": panel.shape[::-1],
        "thickness": panel.thickness_mm,
        "wavelength": told.beam.wavelength_A,
        "axis": goniometer.lab_axis,
        "oscillation": (np.degrees(scan.start_rad), np.degrees(scan.width_rad)),
        "images": (1, scan.n_frames),
    }
    for key, value in ours.items():
        assert theirs[key] == pytest.approx(np.ravel(value).tolist() if np.ndim(value) else value, abs=1e-6), key
    assert theirs["mu"] == pytest.approx(panel.mu_per_mm, rel=0.005)
    assert theirs["trusted"][1] == told.detector.trusted[1]
    if case == "cbf":
        simulate(settings, tmp_path / "y.nxs")
        path = tmp_path / "y.nxs"
    out = np.load(tmp_path / "out.npz")
    good = mask_of(path) == 0
    assert (out["data"][:, good] == frames_of(path)[:, good]).all()
    assert not out["mask"][~good].any()
    assert out["mask"][good].all()


def test_a_grid_is_read_as_stills(tmp_path: Path) -> None:
    path = simulate(tiny(grid_rows=3, grid_columns=4), tmp_path / "x.nxs").data
    theirs = json.loads(run(PYTHON, "-c", SHOW, str(path), str(tmp_path / "out.npz")).splitlines()[-1])
    assert theirs["n"] == 12
    assert theirs["oscillation"][1] == 0.0


@pytest.mark.slow
def test_dials_finds_indexes_and_integrates_what_was_put_in(tmp_path: Path) -> None:
    """A wrong half pixel, half frame, axis or factor shows here; the header's beam centre is 1 px off."""
    settings = Simulate(
        detector="500K", frames=120, width_deg=0.5, distance_mm=70.0, space_group="P 21 21 21",
        cell="42,47,55,90,90,90", photons=600.0, background=0.2, beam_slow_px=255.0, header_fast_px=1.0,
        beam_stop_mm=1.0, beam_stop_masked=True, mosaicity_deg=0.12,
    )  # fmt: skip
    made = simulate(settings, tmp_path / "x.nxs", threads=2)
    for command in (
        "dials.import x.nxs",
        "dials.find_spots imported.expt nproc=1",
        "dials.index imported.expt strong.refl",
        "dials.refine indexed.expt indexed.refl scan_varying=False",
        "dials.integrate refined.expt refined.refl nproc=1",
    ):
        run(*command.split(), cwd=tmp_path)
    found = json.loads(run(PYTHON, "-c", REFINED, cwd=tmp_path).splitlines()[-1])
    cell = sorted(cell_of(np.array(found["A"]).reshape(3, 3))[:3])
    assert cell == pytest.approx([42.0, 47.0, 55.0], rel=5e-4)
    assert found["sigma_m"] == pytest.approx(np.hypot(0.12, settings.divergence_deg), rel=0.1)
    truth, out = read_truth(made.truth), np.load(tmp_path / "out.npz")
    from scipy.spatial import cKDTree

    at = truth[["fast", "slow", "frame"]].to_numpy()
    distance, nearest = cKDTree(at).query(out["xyz"], distance_upper_bound=2.0)
    same = np.isfinite(distance)
    assert same.mean() > 0.98
    true = truth.iloc[nearest[same]].reset_index(drop=True)
    shift = (out["xyz"][same] - at[nearest[same]])[(np.abs(true.zeta) > 0.1).to_numpy()]
    assert np.abs(shift.mean(axis=0)).max() < 0.03
    assert (shift.std(axis=0) < 0.1).all()
    whole = ((true.partiality > 0.99) & (true.photons_seen > 0.98 * true.photons_drawn)).to_numpy()
    intensity, variance = out["intensity"][same][whole], out["variance"][same][whole]
    expected = true.photons_expected.to_numpy()[whole]
    assert (intensity * expected).sum() / (expected**2).sum() == pytest.approx(1.0, abs=0.01)
    assert np.corrcoef(intensity, expected)[0, 1] > 0.998
    pull = (intensity - expected)[expected < 300] ** 2 / variance[expected < 300]
    assert np.mean(pull) == pytest.approx(1.0, abs=0.2)
