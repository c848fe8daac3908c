"""`dials.integrate` on what hdrmx refined, beside DIALS's own chain."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from hdrmx import cli
from hdrmx.io.dials import read_refl

pytestmark = [pytest.mark.dials, pytest.mark.slow]
LAST = 120  # of 320 images: both chains in a minute or two
FITTED = 1 << 9  # DIALS's flag of a profile-fitted intensity


def run(folder: Path, *command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip("DIALS is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def integrate(folder: Path) -> tuple[float, float]:
    """Run it; sigma_b and sigma_m in degrees."""
    run(folder, "dials.integrate", "refined.expt", "refined.refl", "nproc=1")
    log = (folder / "dials.integrate.log").read_text()
    (b,), (m,) = (re.findall(rf"sigma {name}: ([\d.]+) degrees", log) for name in "bm")
    return float(b), float(m)


def fitted(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Predicted positions and profile-fitted intensities, where DIALS fitted them."""
    v = read_refl(folder / "integrated.refl").columns.values
    is_fitted = (v["flags"] & FITTED) != 0
    return v["xyzcal.px"][is_fitted], v["intensity.prf.value"][is_fitted]


def test_integration_goes_on_from_our_files(shared_data: Path, tmp_path: Path) -> None:
    master = shared_data / "sim_dense_P212121" / "dense_P212121_master.h5"
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    run(theirs, "dials.import", str(master), f"image_range=1,{LAST}")
    run(theirs, "dials.find_spots", "imported.expt", "nproc=1")
    run(theirs, "dials.index", "imported.expt", "strong.refl")
    run(theirs, "dials.refine", "indexed.expt", "indexed.refl")
    argv = ["process", str(master), "-o", str(ours), "--shoeboxes", "--images", f"1-{LAST}", "--stages"]
    assert cli.run(cli.group, "hdrmx", [*argv, "find_spots,index,refine"]) == 0

    boxes = [read_refl(folder / "strong.refl").columns.shoeboxes for folder in (ours, theirs)]
    tables = [box.strong_pixels().drop(columns="spot") for box in boxes if box is not None]
    mine, other = (np.unique(table.to_numpy(), axis=0) for table in tables)
    np.testing.assert_array_equal(mine, other)

    assert integrate(ours) == pytest.approx(integrate(theirs), rel=0.02)
    n_ours, n_theirs = (len(read_refl(folder / "integrated.refl").table) for folder in (ours, theirs))
    assert n_ours == pytest.approx(n_theirs, rel=0.005)
    (at_ours, ours_i), (at_theirs, theirs_i) = fitted(ours), fitted(theirs)
    distance, match = cKDTree(at_theirs).query(at_ours)  # by place: axes of the cell can point either way
    is_same = distance < 0.5
    assert is_same.mean() > 0.98
    assert np.corrcoef(ours_i[is_same], theirs_i[match[is_same]])[0, 1] > 0.999
