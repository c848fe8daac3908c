"""Real rotation data: cinchonine by electrons, beside the authors' XDS and beside DIALS on the same refined model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from hdrmx.integration import flags
from hdrmx.integration.profile_model import ProfileModel
from hdrmx.io.dials_models import read_expt
from hdrmx.io.dials_pack import read_columns
from hdrmx.io.open import open_source
from hdrmx.params import Integrate, Predict
from hdrmx.stages.integrate import integrate
from hdrmx.stages.predict import predict

pytestmark = pytest.mark.slow

SETTINGS = ("find_spots.d_min=0.8", "find_spots.d_max=15", "find_spots.min_pixels=3", "index.hold_distance=true")
SETTINGS += ("refine.hold=distance", "refine.scan_varying=never")


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refined models and spots with their pixels, as a user makes them."""
    data = shared_data / "cinchonine_3ded/nxmx_A_001_200/cinchonine_master.h5"
    out = tmp_path_factory.mktemp("cinchonine")
    command = [sys.executable, "-m", "hdrmx", "process", str(data), "-o", str(out), "--shoeboxes", "-j", "1"]
    command += ["--stages", "find_spots,index,refine", *(x for s in SETTINGS for x in ("--set", s))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return out


def integrated(shared_data: Path, folder: Path, profile: ProfileModel, **settings: str) -> pd.DataFrame:
    source = open_source(shared_data / "cinchonine_3ded/nxmx_A_001_200/cinchonine_master.h5")
    model = read_expt(folder / "refined.expt")[0]
    predicted = predict([model.crystal], model.geometry, profile, Predict(d_min=0.85)).table
    params = Integrate(**settings)
    return integrate(predicted, source.frames(), source.mask, model.geometry, profile, params).table


def by_shell(d: np.ndarray, one: np.ndarray, other: np.ndarray, shells: int) -> list[float]:
    parts = np.array_split(np.argsort(-d), shells)
    return [float(np.corrcoef(one[part], other[part])[0, 1]) for part in parts]


def test_intensities_are_those_of_xds(shared_data: Path, folder: Path):
    """Profile-fitted, after Lorentz and polarisation corrections; XDS processed frames 5 to 403 of the same scan."""
    xds = np.loadtxt(shared_data / "cinchonine_3ded/xds_reference/INTEGRATE.HKL", comments="!")
    table = integrated(shared_data, folder, ProfileModel(np.radians(0.0118), np.radians(0.335)))
    scale = np.array([1.0, 1.0, 3.0])
    places = table[["fast", "slow", "frame"]].to_numpy() * scale
    distance, nearest = cKDTree(xds[:, 5:8] * scale).query(places)
    near = distance < 3.0
    assert near.sum() > 900
    hkl, theirs = table[["h", "k", "l"]].to_numpy(), xds[nearest, :3]
    change = np.rint(np.linalg.lstsq(hkl[near].astype(float), theirs[near], rcond=None)[0])
    same = near & (hkl @ change == theirs).all(axis=1)
    assert same.sum() > 0.99 * near.sum()
    same &= (np.isfinite(table["prf_value"]) & (table["partiality"] > 0.9)).to_numpy()
    ours = (table["prf_value"] * table["lp"]).to_numpy()[same]
    found = by_shell(table["d"].to_numpy()[same], ours, xds[nearest, 3][same], 4)
    assert np.corrcoef(ours, xds[nearest, 3][same])[0, 1] > 0.99
    assert min(found[:2]) > 0.97
    assert min(found) > 0.88


@pytest.mark.dials
def test_dials_on_the_same_model(shared_data: Path, folder: Path):
    if shutil.which("dials.integrate") is None:
        pytest.skip("DIALS is not installed")
    command = ["dials.integrate", "refined.expt", "refined.refl", "nproc=1", "prediction.d_min=0.85"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    values = read_columns(folder / "integrated.refl").values
    model = read_expt(folder / "integrated.expt")[0].profile
    table = integrated(shared_data, folder, ProfileModel(model.sigma_b_rad, model.sigma_m_rad[0]), overlaps="share")
    rows = {(*key,): i for i, key in enumerate(table[["h", "k", "l", "entering"]].to_numpy().tolist())}
    keys = zip(values["miller_index"].tolist(), values["entering"].tolist(), strict=True)
    at = np.array([rows.get((*hkl, entering), -1) for hkl, entering in keys])
    assert (at >= 0).mean() > 0.99
    mine, theirs = table.iloc[at[at >= 0]], {k: v[at >= 0] for k, v in values.items()}
    is_summed = (theirs["flags"] & flags.INTEGRATED_SUM) != 0
    assert np.isfinite(mine["sum_value"]).sum() == pytest.approx(is_summed.sum(), rel=0.01)
    total, sigma = theirs["intensity.sum.value"], np.sqrt(theirs["intensity.sum.variance"])
    strong = is_summed & np.isfinite(mine["sum_value"]).to_numpy() & (total > 10 * sigma)
    ratio = mine["sum_value"].to_numpy()[strong] / total[strong]
    assert strong.sum() > 200
    assert (np.abs(ratio - 1.0) < 1e-3).mean() >= 0.99
    fitted = ((theirs["flags"] & flags.INTEGRATED_PRF) != 0) & np.isfinite(mine["prf_value"]).to_numpy()
    one, other = mine["prf_value"].to_numpy()[fitted], theirs["intensity.prf.value"][fitted]
    assert np.corrcoef(one, other)[0, 1] > 0.999
