"""The plain formulae against DIALS's own threshold, over settings, masks and counts that real frames seldom have."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hdrmx.kernels.threshold_plain import strong_pixels_plain
from hdrmx.params import FindSpots

PYTHON = "/usr/bin/python3"  # the interpreter of Debian's DIALS
SCRIPT = """
import json, sys
import numpy as np
from dials.algorithms.spot_finding.threshold import DispersionExtendedThresholdStrategy, DispersionThresholdStrategy
from dials.array_family import flex
cases, out = np.load(sys.argv[1]), {}
for name, s in json.loads(str(cases["settings"])).items():
    strategy = DispersionThresholdStrategy if s["threshold"] == "dispersion" else DispersionExtendedThresholdStrategy
    test = strategy(
        kernel_size=(s["kernel_px"], s["kernel_px"]), gain=None if s["gain"] == 1 else s["gain"],
        n_sigma_b=s["sigma_background"], n_sigma_s=s["sigma_strong"], min_count=s["min_local"],
        global_threshold=s["global_threshold"])
    out[name] = test(flex.double(cases["counts_" + name]), flex.bool(cases["mask_" + name])).as_numpy_array()
np.savez_compressed(sys.argv[2], **out)
"""


def cases(n: int) -> list[tuple[np.ndarray, np.ndarray, dict]]:
    """Counts (float), mask and settings."""
    rng = np.random.default_rng(7)
    made = []
    for k in range(n):
        shape = tuple(rng.integers(2, 120, 2))
        slow, fast = np.mgrid[: shape[0], : shape[1]]
        counts = rng.poisson(rng.choice([0.02, 0.1, 0.5, 1, 3, 10, 60]), shape).astype(float)
        for _ in range(rng.integers(0, 10)):
            y, x = rng.random() * shape[0], rng.random() * shape[1]
            peak, width = 10 ** rng.uniform(0.5, 5), rng.uniform(0.3, 2.5)
            counts += rng.poisson(peak * np.exp(-((slow - y) ** 2 + (fast - x) ** 2) / (2 * width**2)))
        if k % 5 == 0:
            counts[rng.random(shape) < 0.005] = rng.integers(2**23, 2**26)
        if k % 11 == 0:
            counts -= rng.integers(0, 6)
        mask = rng.random(shape) > rng.choice([0, 0.01, 0.1])
        if k % 3 == 0:
            mask[shape[0] // 3 : shape[0] // 3 + 5] = False
        settings = {
            "threshold": str(rng.choice(["dispersion_extended", "dispersion"])),
            "kernel_px": int(rng.choice([1, 2, 3, 3, 3, 4, 5])),
            "gain": float(rng.choice([1, 1, 0.5, 2.3])),
            "sigma_background": float(rng.choice([6, 6, 3, 1, 0])),
            "sigma_strong": float(rng.choice([3, 1, 0])),
            "min_local": int(rng.choice([2, 5])),
            "global_threshold": float(rng.choice([0, 0, 5])),
        }
        made.append((counts, mask, settings))
    return made


@pytest.mark.dials
def test_same_pixels_as_dials(tmp_path: Path) -> None:
    if shutil.which("dials.find_spots") is None:
        pytest.skip("DIALS is not installed")
    made = {str(k): case for k, case in enumerate(cases(200))}
    arrays = {f"counts_{k}": c for k, (c, _, _) in made.items()} | {f"mask_{k}": m for k, (_, m, _) in made.items()}
    texts = json.dumps({k: settings for k, (_, _, settings) in made.items()})
    np.savez_compressed(tmp_path / "cases.npz", settings=texts, **arrays)
    command = [PYTHON, "-c", SCRIPT, str(tmp_path / "cases.npz"), str(tmp_path / "found.npz")]
    subprocess.run(command, check=True, capture_output=True)
    found = np.load(tmp_path / "found.npz")
    assert sum(int(found[k].sum()) for k in made) > 10_000
    for k, (counts, mask, settings) in made.items():
        ours = strong_pixels_plain(counts, mask, (-1e9, 1e9), FindSpots(**settings))
        np.testing.assert_array_equal(ours, found[k], err_msg=f"case {k}: {settings}")
