"""Strong pixels and spots of real and simulated data against those of DIALS 3.12 (`tests/reference/dials`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dials_reference import Reference, load

from hdrmx.analysis.agree_spots import compare_spots
from hdrmx.frames import FrameSource
from hdrmx.io.open import open_source
from hdrmx.kernels.decode import Workspace, decode_dense
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import find_spots
from hdrmx.stages.resolution_mask import resolution_mask
from hdrmx.stages.strong_pixels import ThresholdWork, make_threshold, strong_in_dense

SETTINGS = {
    "cinchonine": FindSpots(d_min=0.8, d_max=15.0, min_pixels=3),
    "thaumatin": FindSpots(),
    "thaumatin_dispersion": FindSpots(threshold="dispersion"),
    "lcysteine": FindSpots(),
    "sim_dense": FindSpots(),
    "sim_sparse": FindSpots(),
}


def source_of(shared_data: Path, reference: Reference) -> FrameSource:
    files = reference.about["files"]
    return open_source(shared_data / files)


def strong_pixels(source: FrameSource, params: FindSpots, frames: set[int]) -> dict[int, np.ndarray]:
    """Flat indices of the strong pixels of the frames asked for, ascending."""
    geometry, found = source.geometry, {}
    usable = resolution_mask(source.mask, geometry, params)
    threshold = make_threshold(
        usable, geometry.detector.panels, geometry.detector.trusted, params, source.dtype, geometry.detector.gain
    )
    own, work = ThresholdWork(threshold), Workspace(source.shape, source.dtype)
    for frame in source.frames():
        if frame.index in frames:
            decode_dense(frame, work.dense, work)
            strong = strong_in_dense(threshold, work.dense, own)
            found[frame.index] = np.sort(strong.slow.astype(np.int64) * source.shape[1] + strong.fast)
    return found


# A set of many frames is looked at every so many
EVERY = {"cinchonine": 10, "thaumatin": 4, "thaumatin_dispersion": 4, "lcysteine": 3, "sim_dense": 32, "sim_sparse": 50}


def different_pixels(shared_data: Path, name: str, every: int) -> dict[int, np.ndarray]:
    reference = load(name)
    frames = set(list(reference.strong)[::every])
    ours = strong_pixels(source_of(shared_data, reference), SETTINGS[name], frames)
    assert set(ours) == frames
    apart = {i: np.setxor1d(ours[i], reference.strong[i]) for i in frames}
    return {i: pixels for i, pixels in apart.items() if len(pixels)}


@pytest.mark.parametrize("name", SETTINGS)
def test_strong_pixels_are_those_of_dials(shared_data: Path, name: str) -> None:
    assert different_pixels(shared_data, name, EVERY[name]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_strong_pixels_of_every_frame_are_those_of_dials(shared_data: Path, name: str) -> None:
    assert different_pixels(shared_data, name, 1) == {}


@pytest.mark.parametrize(
    "name",
    [
        "lcysteine",
        "cinchonine",
        "sim_sparse",
        pytest.param("sim_dense", marks=pytest.mark.slow),
        pytest.param("thaumatin", marks=pytest.mark.slow),
        pytest.param("thaumatin_dispersion", marks=pytest.mark.slow),
    ],
)
def test_spots_are_those_of_dials(shared_data: Path, name: str) -> None:
    reference = load(name)
    source = source_of(shared_data, reference)
    found = find_spots(source.frames(), source.mask, source.geometry, SETTINGS[name], threads=2)
    assert found.counts["strong_pixels"] == reference.about["strong_pixels"]
    assert len(found.spots) == len(reference.spots)
    agreement = compare_spots(found.spots, reference.spots)
    assert agreement.fraction_equal >= 0.999
    assert (agreement.intensity_ratio == 1.0).all()
    ours, theirs = found.spots.iloc[agreement.ours], reference.spots.iloc[agreement.theirs]
    boxes = ["n_pixels", *(f"{axis}_{end}" for axis in ("fast", "slow", "frame") for end in ("min", "max"))]
    np.testing.assert_array_equal(ours[boxes], theirs[boxes])
    for axis in ("fast", "slow", "frame"):
        np.testing.assert_allclose(ours[f"{axis}_var"], theirs[f"{axis}_var"], rtol=1e-5)
