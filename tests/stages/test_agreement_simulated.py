"""Strong pixels and spots of simulated frames of large detectors against DIALS, which runs beside."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dials_reference import FOLDER, load_from
from test_agreement_dials import strong_pixels

from hdrmx.analysis.agree_spots import compare_spots
from hdrmx.io.open import open_source
from hdrmx.params import FindSpots
from hdrmx.simulate import PRESETS, simulate
from hdrmx.stages.find_spots import find_spots

DIALS_PYTHON = "/usr/bin/python3"  # of Debian's package
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from make_dials_reference import arrays_of, strong_and_spots
np.savez(sys.argv[3], **arrays_of([strong_and_spots([sys.argv[2]], [])]))
"""


@pytest.mark.slow
@pytest.mark.dials
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("density", ["dense", "sparse"])
@pytest.mark.parametrize("detector", ["4M", "16M"])
def test_strong_pixels_and_spots_of_large_frames(detector: str, density: str, dtype: str, tmp_path: Path) -> None:
    if shutil.which("dials.find_spots") is None:
        pytest.skip("DIALS is not installed (Debian: dials, python3-dials, bitshuffle)")
    settings = replace(PRESETS[density][1], detector=detector, dtype=dtype, frames=3, width_deg=0.5, photons=3000.0)
    data = simulate(settings, tmp_path / "data.nxs", threads=2).data
    command = [DIALS_PYTHON, "-c", SCRIPT, str(FOLDER.parent), str(data), str(tmp_path / "dials.npz")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    strong, spots = load_from(tmp_path / "dials.npz")

    source = open_source(data)
    ours = strong_pixels(source, FindSpots(), set(source.indices))
    apart = {i: len(np.setxor1d(ours[i], strong[i])) for i in source.indices}
    print(detector, density, dtype, "strong", {i: len(s) for i, s in strong.items()}, "apart", apart)
    assert not any(apart.values())
    for kernel in ("auto", "dense", "sparse"):
        found = find_spots(source.frames(), source.mask, source.geometry, FindSpots(kernel=kernel))
        assert found.counts["strong_pixels"] == sum(map(len, strong.values()))
        agreement = compare_spots(found.spots, spots)
        assert len(found.spots) == len(spots)
        assert agreement.fraction_equal == 1.0
        assert (agreement.intensity_ratio == 1.0).all()
