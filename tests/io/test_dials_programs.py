"""DIALS's own programs on files that hdrmx wrote."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hdrmx.io.cbf import open_cbf
from hdrmx.io.dials import read_refl, write_refl
from hdrmx.io.dials_models import read_expt, write_expt
from hdrmx.io.nexus import open_nexus
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import find_spots

pytestmark = pytest.mark.dials


def run(folder: Path, *command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip("DIALS is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def write_spots(folder: Path, source) -> int:
    spots = find_spots(source.frames(), source.mask, source.geometry, FindSpots(), threads=2).spots
    identifiers = write_expt(folder / "imported.expt", source.geometry, getattr(source, "template", source.name))
    write_refl(folder / "strong.refl", spots, identifiers)
    return len(spots)


@pytest.mark.slow
def test_dials_show_reads_a_cbf_series_with_several_axes(shared_data: Path, tmp_path: Path) -> None:
    n = write_spots(tmp_path, open_cbf(shared_data / "lcysteine_pilatus2m" / "l-cyst_01_#####.cbf"))
    shown = run(tmp_path, "dials.show", "imported.expt", "strong.refl")
    assert f"Reflection list contains {n} reflections" in shown
    assert "scan axis: #1 (GON_OMEGA)" in shown
    assert "image range:   {1,15}" in shown


@pytest.mark.slow
def test_dials_index_works_on_our_files(shared_data: Path, tmp_path: Path) -> None:
    """DIALS's own spots of this set: 6497 of 6572 indexed."""
    source = open_nexus(shared_data / "sim_dense_P212121" / "dense_P212121_master.h5")
    n = write_spots(tmp_path, source)
    assert n == 6572
    log = run(tmp_path, "dials.index", "imported.expt", "strong.refl")
    found = re.findall(r"\|\s+0 \|\s+(\d+) \|\s+(\d+) \|\s+([\d.]+)%", log)[-1]
    assert int(found[0]) == 6497
    written = read_expt(tmp_path / "imported.expt")[0]
    indexed, table = read_expt(tmp_path / "indexed.expt")[0], read_refl(tmp_path / "indexed.refl").table
    assert indexed.geometry.goniometer == written.geometry.goniometer
    assert indexed.crystal.cell[:3] == pytest.approx((54.708, 58.521, 67.634), abs=0.01)
    assert (table["lattice"] >= 0).sum() == 6497

    # and DIALS goes on from our copy of its indexed table
    identifiers = write_expt(tmp_path / "again.expt", indexed.geometry, indexed.template, crystals=[indexed.crystal])
    write_refl(tmp_path / "again.refl", table, identifiers, indexed.geometry)
    run(tmp_path, "dials.refine", "again.expt", "again.refl", "scan_varying=False")
