"""The simulated set from frames to intensities, against its truth, and DIALS's symmetry program on what was written."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree
from scipy.special import ndtr

from hdrmx.integration.profile_model import ProfileModel, fit_profile_model
from hdrmx.io.dials_intensities import write_integrated
from hdrmx.io.dials_models import Profile, write_expt
from hdrmx.io.nexus import open_nexus
from hdrmx.params import FindSpots, Params
from hdrmx.stages.find_spots import find_spots
from hdrmx.stages.index import index
from hdrmx.stages.integrate import Integrated, integrate
from hdrmx.stages.predict import predict
from hdrmx.stages.refine import RefinedModel, refine

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Done:
    template: str
    model: RefinedModel
    profile: ProfileModel
    result: Integrated
    expected: np.ndarray  # true photons of each row, NaN where the truth has none near


@pytest.fixture(scope="module")
def done(shared_data: Path) -> Done:
    params, folder = Params(), shared_data / "sim_dense_P212121"
    source = open_nexus(folder / "dense_P212121_master.h5")
    found = find_spots(source.frames(), source.mask, source.geometry, FindSpots(keep_pixels=True))
    indexed = index(found.spots, source.geometry, params.index)
    model = refine(indexed.table, indexed.crystals, indexed.geometry, params.refine)
    profile = fit_profile_model(model.reflections, model.geometry, pixels=found.pixels)
    predicted = predict(model.crystals, model.geometry, profile, params.predict).table
    result = integrate(predicted, source.frames(), source.mask, model.geometry, profile, params.integrate, threads=2)
    with np.load(folder / "dense_P212121_truth.npz") as truth:
        expected = photons(result.table, truth)
    return Done(source.template, model, profile, result, expected)


def photons(table: pd.DataFrame, truth) -> np.ndarray:
    """True photons of the nearest reflection, each frame with its own scale."""
    z, sigma, scale = truth["z"], truth["sigma_z"].astype(float), truth["frame_scale"]
    total, weight = np.zeros(len(z)), np.zeros(len(z))
    for step in range(-8, 9):
        frame = np.floor(z) + step
        share = ndtr((frame + 1 - z) / sigma) - ndtr((frame - z) / sigma)
        total += share * scale[np.clip(frame.astype(int), 0, len(scale) - 1)]
        weight += share
    places = np.column_stack([truth["x"], truth["y"], z])
    distance, nearest = cKDTree(places).query(table[["fast", "slow", "frame"]].to_numpy())
    return np.where(distance < 1, (truth["photons"] * total / weight)[nearest], np.nan)


def test_widths_are_those_of_the_truth(done: Done):
    assert np.degrees(done.profile.sigma_m_rad) == pytest.approx(0.08, rel=0.03)


@pytest.mark.parametrize("kind", ["sum", "prf"])
def test_intensities_against_the_truth(done: Done, kind: str):
    table = done.result.table
    value = table[f"{kind}_value"] / (table["foreground_fraction"] if kind == "sum" else 1.0)
    good = np.isfinite(value) & np.isfinite(done.expected) & (table["partiality"] > 0.99)
    error = (value - done.expected) / np.sqrt(table[f"{kind}_variance"] + (0.1 * done.expected) ** 2)
    good &= error.abs() < 8  # the simulation has hot pixels that no mask knows of
    assert good.sum() > 16000
    assert value[good].sum() / done.expected[good].sum() == pytest.approx(1.0, abs=0.005)
    pull = (value - done.expected) / np.sqrt(table[f"{kind}_variance"])
    for low, high in ((2, 10), (10, 40), (40, 160), (160, 1000)):
        within = good & (done.expected >= low) & (done.expected < high)
        assert 0.8 < pull[within].var() < 1.2, f"{low}-{high} photons: {pull[within].var():.3f}"


@pytest.mark.dials
def test_dials_symmetry_takes_what_is_written(done: Done, tmp_path: Path):
    """On its own intensities of this set, DIALS 3.12 finds P 21 21 2, too."""
    if shutil.which("dials.symmetry") is None:
        pytest.skip("DIALS is not installed")
    profile = Profile(done.profile.sigma_b_rad, (done.profile.sigma_m_rad,))
    model, path = done.model, tmp_path / "integrated.expt"
    names = write_expt(path, model.geometry, done.template, crystals=model.crystals, profile=profile)
    write_integrated(tmp_path / "integrated.refl", done.result.table, names, model.geometry)
    command = ["dials.symmetry", "integrated.expt", "integrated.refl"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert re.search(r"Recommended space group: P 21 21 2\b", ran.stdout)
