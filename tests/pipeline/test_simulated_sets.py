"""Twenty simulated data sets over all crystal systems, from frames to merged intensities against the truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import gemmi
import pytest
from truth import correlation

from hdrmx import cli
from hdrmx.params import Simulate
from hdrmx.simulate import simulate

COMMON = Simulate(
    detector="500K",
    frames=360,
    width_deg=0.25,
    distance_mm=90.0,
    background=0.1,
    photons=200.0,
    beam_stop_masked=True,  # what lies in an unmasked shadow is wrong in any program
)
SETS = {  # space group: cell, and what differs
    "P 1": ("34,42,55,81,97,104", {"frames": 720}),
    "P 1 21 1": ("42,51,60,90,102,90", {}),
    "P 1 2 1": ("38,47,66,90,98,90", {"background": 0.5}),
    "C 1 2 1": ("88,42,51,90,107,90", {"drift_deg": 0.2}),
    "P 21 21 21": ("47,58,69,90,90,90", {"photons": 60.0}),
    "P 2 2 21": ("48,61,70,90,90,90", {}),
    "C 2 2 21": ("62,88,57,90,90,90", {"decay": 3.0}),
    "I 2 2 2": ("63,75,90,90,90,90", {"scale_variation": 0.3}),
    "F 2 2 2": ("84,95,107,90,90,90", {}),
    "P 41 21 2": ("79,79,38,90,90,90", {"absorption": 0.3}),
    "P 43": ("66,66,52,90,90,90", {}),
    "I 41": ("92,92,60,90,90,90", {"beam_noise": 0.05}),
    "P 31 2 1": ("63,63,78,90,90,120", {}),
    "P 32": ("58,58,71,90,90,120", {"width_deg": 0.5, "frames": 240}),
    "R 3 :H": ("82,82,95,90,90,120", {}),
    "R 3 2 :H": ("90,90,70,90,90,120", {"photons": 80.0}),
    "P 61 2 2": ("70,70,88,90,90,120", {}),
    "P 63": ("61,61,74,90,90,120", {"start_deg": 40.0}),
    "P 2 3": ("68,68,68,90,90,90", {}),
    "I 2 3": ("92,92,92,90,90,90", {"detector": "1M", "distance_mm": 130.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("space_group", list(SETS))
def test_merged_against_the_truth(space_group: str, tmp_path: Path) -> None:
    cell, more = SETS[space_group]
    settings = dataclasses.replace(COMMON, space_group=space_group, cell=cell, **more)
    data = simulate(settings, tmp_path / "set.nxs").data
    folder = tmp_path / "out"
    assert cli.run(cli.group, "hdrmx", ["process", str(data), "-o", str(folder)]) == 0
    told = json.loads((folder / "summary.json").read_text())
    found, true = gemmi.SpaceGroup(told["symmetry"]["space_group"]), gemmi.SpaceGroup(space_group)
    assert found.laue_str() == true.laue_str()
    assert (found.centring_type() == "P") == (true.centring_type() == "P")  # C 2 may be told as I 2
    cc, n = correlation(folder / "merged.mtz", data.with_name("set_truth.h5"), cell)
    whole = told["merge"]["overall"]
    print(space_group, found.xhm(), f"{cc:.4f}", n, f"{whole['r_meas']:.3f} {whole['cc_half']:.4f}", sep="\t")
    assert n > 300
    assert cc > 0.985
    assert whole["cc_half"] > 0.97
