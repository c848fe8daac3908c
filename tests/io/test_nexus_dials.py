"""Which counts dxtbx trusts in an NXmx file, and in the experiment list that hdrmx writes for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from nxmx_fixture import Header, counts, write_nxmx

from hdrmx.io.dials_models import write_expt
from hdrmx.io.nexus import open_nexus

pytestmark = pytest.mark.dials

SATURATION, UNDERLOAD = 1000, 0
SCRIPT = """
import sys
import dxtbx
import numpy as np
from dxtbx.model.experiment_list import ExperimentListFactory
for path in sys.argv[1:]:
    if path.endswith(".expt"):
        (experiment,) = ExperimentListFactory.from_json_file(path)
    else:
        (experiment,) = ExperimentListFactory.from_filenames([path])
    mask = experiment.imageset.get_mask(0)[0].as_numpy_array()
    np.savez(path + ".npz", mask=mask, version=dxtbx.__version__, trusted=experiment.detector[0].get_trusted_range())
"""


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_trusted_counts(dtype: type, tmp_path: Path) -> None:
    """NXmx trusts counts up to saturation_value, and so does hdrmx; dxtbx before 3.12 leaves that one value out."""
    if shutil.which("dials.import") is None:
        pytest.skip("DIALS is not installed")
    frames = counts((3, 40, 52), dtype)
    around = np.array([SATURATION - 1, SATURATION, SATURATION + 1, UNDERLOAD, 65535])
    frames[0, 5, 10:15] = around
    header = Header(saturation=SATURATION, underload=UNDERLOAD)
    path = write_nxmx(tmp_path / "made.nxs", frames, layout="single", codec="gzip", header=header)
    source = open_nexus(path)
    listed = tmp_path / "imported.expt"
    write_expt(listed, source.geometry, source.template)
    subprocess.run(["/usr/bin/python3", "-c", SCRIPT, str(path), str(listed)], check=True, capture_output=True)
    theirs, through_ours = np.load(f"{path}.npz"), np.load(f"{listed}.npz")
    if tuple(int(n) for n in str(theirs["version"]).split(".")[:2]) >= (3, 12):
        pytest.skip(f"dxtbx {theirs['version']} trusts both limits")
    assert theirs["trusted"].tolist() == through_ours["trusted"].tolist() == [UNDERLOAD - 1, SATURATION]
    np.testing.assert_array_equal(through_ours["mask"], theirs["mask"])
    assert theirs["mask"][5, 10:15].tolist() == [True, False, False, True, False]

    low, high = source.geometry.detector.trusted
    ours = source.mask & (frames[0] >= low) & (frames[0] <= high)
    source.close()
    assert ours[5, 10:15].tolist() == [True, True, False, True, False]
    np.testing.assert_array_equal(ours != theirs["mask"], frames[0] == SATURATION)
