"""Named sets of settings, from a first contact to what beamlines deliver."""

from __future__ import annotations

from hdrmx.params import Simulate

# Reflections along both screw axes of P 43 21 2 meet the detector early in the scan.
AXES_IN_VIEW = "32,51,29"

PRESETS: dict[str, tuple[str, Simulate]] = {
    "demo": (
        "small and clear: a lysozyme-like crystal on 500K pixels",
        Simulate(
            detector="500K", frames=300, width_deg=0.4, distance_mm=75.0, photons=400.0, background=0.3,
            beam_slow_px=262.0, mosaicity_deg=0.1, decay=1.0, absorption=0.05, scale_variation=0.05, beam_noise=0.01,
            beam_stop_mm=1.0, beam_stop_masked=True, orientation_deg=AXES_IN_VIEW,
        ),
    ),
    "dense": (
        "a fine-sliced rotation at about 1 count a pixel",
        Simulate(
            frames=900, width_deg=0.1, distance_mm=75.0, background=1.0, photons=250.0, decay=2.0, absorption=0.05,
            scale_variation=0.05, beam_noise=0.01, orientation_deg=AXES_IN_VIEW,
        ),
    ),
    "sparse": (
        "a full turn at low dose: 0.02 counts a pixel, 50 photons a reflection",
        Simulate(
            frames=3600, width_deg=0.1, distance_mm=75.0, background=0.02, photons=50.0, decay=1.0, absorption=0.05,
            scale_variation=0.05, beam_noise=0.01, orientation_deg=AXES_IN_VIEW,
        ),
    ),
    "grid": (
        "a grid scan of stills over a crystal in its loop",
        Simulate(
            grid_rows=20, grid_columns=24, exposure_s=0.002, distance_mm=150.0, background=0.1, photons=100.0,
            mosaicity_deg=0.15,
        ),
    ),
    "low-symmetry": (
        "C2 with ice rings and a drifting crystal",
        Simulate(
            frames=450, width_deg=0.2, distance_mm=85.0, space_group="C 1 2 1", cell="118.3,44.6,91.7,90,104.6,90",
            background=0.35, ice=1.0, photons=250.0, mosaicity_deg=0.12, decay=3.0, absorption=0.08,
            scale_variation=0.08, beam_noise=0.01, drift_deg=0.1,
        ),
    ),
}  # fmt: skip
