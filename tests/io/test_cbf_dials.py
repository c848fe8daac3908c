"""Real series against dxtbx, run beside us where DIALS is installed: geometry, pixels and mask."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fabio.compression import decByteOffset

from hdrmx.io.cbf import open_cbf

pytestmark = pytest.mark.dials

SCRIPT = """
import glob, json, sys
import numpy as np
from dxtbx.model.experiment_list import ExperimentListFactory
(experiment,) = ExperimentListFactory.from_filenames(sorted(glob.glob(sys.argv[1])))
panel, beam, gonio, scan = experiment.detector[0], experiment.beam, experiment.goniometer, experiment.scan
imageset = experiment.imageset
data = imageset.get_raw_data(0)[0].as_numpy_array()
np.savez(sys.argv[2], data=data, mask=imageset.get_mask(0)[0].as_numpy_array())
print(json.dumps(dict(
    origin=panel.get_origin(), fast=panel.get_fast_axis(), slow=panel.get_slow_axis(), pixel=panel.get_pixel_size(),
    size=panel.get_image_size(), mu=panel.get_mu(), thickness=panel.get_thickness(), material=panel.get_material(),
    trusted=panel.get_trusted_range(), wavelength=beam.get_wavelength(), gain=panel.get_gain(),
    source=beam.get_sample_to_source_direction(), normal=beam.get_polarization_normal(),
    fraction=beam.get_polarization_fraction(), axis=gonio.get_rotation_axis_datum(),
    fixed=gonio.get_fixed_rotation(), setting=gonio.get_setting_rotation(),
    images=scan.get_image_range(), oscillation=scan.get_oscillation(), exposure=scan.get_exposure_times()[0])))
"""


@pytest.mark.parametrize(
    "series",
    ["lcysteine_pilatus2m/l-cyst_01_*", "lcysteine_pilatus2m/l-cyst_02_*", "thaumatin_grid_pilatus6m/*_0002.*"],
)
def test_same_as_dxtbx(shared_data: Path, tmp_path: Path, series: str) -> None:
    python = "/usr/bin/python3"
    if shutil.which("dials.import") is None:
        pytest.skip("DIALS is not installed")
    arguments = [python, "-c", SCRIPT, str(shared_data / series), str(tmp_path / "frame.npz")]
    theirs = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    source = open_cbf(str(shared_data / series), check_md5=True)
    geometry, panel = source.geometry, source.geometry.detector.panels[0]
    ours = {
        "origin": panel.origin_mm,
        "fast": panel.fast_axis,
        "slow": panel.slow_axis,
        "pixel": panel.pixel_mm[::-1],
        "size": panel.shape[::-1],
        "thickness": panel.thickness_mm,
        "wavelength": geometry.beam.wavelength_A,
        "gain": geometry.detector.gain,
        "source": -np.asarray(geometry.beam.direction),
        "normal": geometry.beam.polarization_normal,
        "fraction": geometry.beam.polarization_fraction,
        "axis": geometry.goniometer.axis,
        "fixed": np.ravel(geometry.goniometer.fixed),
        "setting": np.ravel(geometry.goniometer.setting),
        "images": (geometry.scan.first + 1, geometry.scan.first + geometry.scan.n_frames),
        "oscillation": np.degrees((geometry.scan.start_rad, geometry.scan.width_rad)),
        "exposure": geometry.scan.exposure_s,
    }
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-12, atol=1e-10, err_msg=name)
    assert panel.material == theirs["material"]
    assert panel.mu_per_mm == pytest.approx(theirs["mu"], rel=0.005)
    assert geometry.detector.trusted[1] == theirs["trusted"][1]

    frame = next(source.frames())
    pixels = decByteOffset(frame.load().tobytes(), panel.shape[0] * panel.shape[1], "int32").reshape(panel.shape)
    saved = np.load(tmp_path / "frame.npz")
    np.testing.assert_array_equal(pixels, saved["data"])
    low, high = geometry.detector.trusted
    np.testing.assert_array_equal(source.mask & (pixels >= low) & (pixels <= high), saved["mask"])
