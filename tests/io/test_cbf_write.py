"""Frames written as mini-CBF come back as they were, geometry and all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cbf_examples import frames, geometry

from hdrmx.errors import InputError
from hdrmx.io.cbf import open_cbf
from hdrmx.io.cbf_write import mini_header, write_mini_cbf
from hdrmx.models import Goniometer


@pytest.mark.parametrize("shape", [(24, 31), (195, 487), (512, 1028)])
def test_geometry_survives(tmp_path: Path, shape: tuple[int, int]) -> None:
    model = geometry(shape)
    for i, pixels in enumerate(frames(2, shape)):
        write_mini_cbf(tmp_path / f"x_{i + 1:05d}.cbf", pixels, mini_header(model, i))
    read = open_cbf(tmp_path, check_md5=True).geometry
    was, now = model.detector.panels[0], read.detector.panels[0]
    for name in ("origin_mm", "pixel_mm", "fast_axis", "slow_axis", "thickness_mm"):
        np.testing.assert_allclose(getattr(now, name), getattr(was, name), rtol=1e-14)
    assert (now.shape, now.material, read.detector.trusted) == (shape, "Si", (0.0, 10000.0))
    assert read.beam.wavelength_A == model.beam.wavelength_A
    assert read.scan.start_rad == pytest.approx(model.scan.start_rad, rel=1e-12)
    assert read.scan.width_rad == pytest.approx(model.scan.width_rad, rel=1e-12)
    assert read.goniometer.axis == (1, 0, 0)


def test_what_the_format_cannot_tell_is_refused() -> None:
    model = geometry()
    with pytest.raises(InputError, match="spindle"):
        mini_header(replace(model, goniometer=Goniometer(axis=(0, 1, 0))), 0)
    panel = replace(model.detector.panels[0], fast_axis=(0, 1, 0), slow_axis=(1, 0, 0))
    with pytest.raises(InputError, match="tilted"):
        mini_header(replace(model, detector=model.detector.with_panels((panel,))), 0)


def test_pixels_of_another_type_are_refused(tmp_path: Path) -> None:
    header = mini_header(geometry(), 0)
    with pytest.raises(ValueError, match="uint16"):
        write_mini_cbf(tmp_path / "a.cbf", np.zeros((2, 3), np.uint16), header)
    with pytest.raises(ValueError, match="differ by less"):
        write_mini_cbf(tmp_path / "a.cbf", np.array([[-(2**31), 2**31 - 1]], np.int32), header)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written"):
        write_mini_cbf(tmp_path / "no" / "a.cbf", np.zeros((2, 3), np.int32), mini_header(geometry(), 0))
