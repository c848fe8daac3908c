"""Detectors of known makes, and the experiment as it is and as the header says it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.attenuation import mu_per_mm
from hdrmx.models import Beam, Detector, Geometry, Goniometer, Panel, Scan
from hdrmx.params import Simulate
from hdrmx.simulate.crystal import numbers, rotation

SATURATION = {"uint16": 65000, "uint32": 4_000_000}


@dataclass(frozen=True)
class Layout:
    """A detector drawn as one panel: (slow, fast) modules of the same size with gaps between them."""

    name: str
    modules: tuple[int, int]
    module_px: tuple[int, int]
    gap_px: tuple[int, int]
    pixel_mm: float = 0.075
    margin_px: tuple[int, int] = (0, 0)  # dead rows and columns after the last module

    @property
    def shape(self) -> tuple[int, int]:
        """(slow, fast), px."""
        slow, fast = (
            n * size + (n - 1) * gap + margin
            for n, size, gap, margin in zip(self.modules, self.module_px, self.gap_px, self.margin_px)
        )
        return slow, fast

    def is_gap(self) -> npt.NDArray[np.bool_]:
        """(slow, fast), True between the modules."""
        live = []
        for length, n, size, gap in zip(self.shape, self.modules, self.module_px, self.gap_px):
            at = np.arange(length)
            live.append((at % (size + gap) < size) & (at < n * (size + gap)))
        return ~(live[0][:, None] & live[1][None, :])


LAYOUTS = {
    "tiny": Layout("Tiny", (2, 1), (60, 128), (8, 0)),
    "500K": Layout("EIGER2 500K", (1, 1), (512, 1028), (38, 12)),
    "1M": Layout("EIGER2 1M", (2, 1), (512, 1028), (38, 12)),
    "4M": Layout("EIGER2 4M", (4, 2), (512, 1028), (38, 12)),
    "9M": Layout("EIGER2 9M", (6, 3), (512, 1028), (38, 12)),
    "16M": Layout("EIGER2 16M", (8, 4), (512, 1028), (38, 12)),
    "pilatus2M": Layout("PILATUS 2M", (8, 3), (195, 487), (17, 7), 0.172),
    "pilatus6M": Layout("PILATUS 6M", (12, 5), (195, 487), (17, 7), 0.172),
}


def n_frames(settings: Simulate) -> int:
    """Frames of the data set: of the grid where there is one."""
    if bool(settings.grid_rows) != bool(settings.grid_columns):
        raise InputError("grid", "has rows or columns only", "give both grid_rows and grid_columns")
    return settings.grid_rows * settings.grid_columns or settings.frames


def is_still(settings: Simulate) -> bool:
    """A grid scan or a series of stills."""
    return settings.width_deg == 0.0 or settings.grid_rows > 0


def build(settings: Simulate) -> tuple[Geometry, Geometry]:
    """The experiment as it is, and as the header describes it."""
    layout = LAYOUTS[settings.detector]
    slow, fast = layout.shape
    beam_fast = fast / 2 + 4.3 if settings.beam_fast_px is None else settings.beam_fast_px
    beam_slow = slow / 2 - 7.7 if settings.beam_slow_px is None else settings.beam_slow_px
    beam = Beam(settings.wavelength_A, polarization_fraction=settings.polarization)
    axis = np.array(numbers("axis", settings.axis, 3))
    if not np.linalg.norm(axis) > 0:
        raise InputError("axis", f"'{settings.axis}' has no direction", "give a vector such as 1,0,0")
    x, y, z = (axis / np.linalg.norm(axis)).tolist()
    width = 0.0 if is_still(settings) else float(np.radians(settings.width_deg))
    scan = Scan(0, n_frames(settings), float(np.radians(settings.start_deg)), width, settings.exposure_s)
    saturation = settings.saturation or SATURATION[settings.dtype]
    limit = np.iinfo(settings.dtype).max - 2  # the two highest values mark pixels without a count
    if saturation >= limit:
        raise InputError("saturation", f"is {saturation}", f"it must be below {limit} for {settings.dtype}")
    panel = _panel(settings, layout, beam_slow, beam_fast, settings.distance_mm)
    true = Geometry(beam, Detector((panel,), (0.0, float(saturation)), name=layout.name), Goniometer((x, y, z)), scan)
    told = _panel(
        settings,
        layout,
        beam_slow + settings.header_slow_px,
        beam_fast + settings.header_fast_px,
        settings.distance_mm + settings.header_distance_mm,
    )
    return true, replace(true, detector=true.detector.with_panels((told,)))


def _panel(settings: Simulate, layout: Layout, beam_slow: float, beam_fast: float, distance_mm: float) -> Panel:
    """The panel whose beam centre and distance, both before the swing, are these."""
    if distance_mm <= 0:
        raise InputError("header_distance_mm", f"makes the distance {distance_mm} mm", "it must stay above 0")
    swing = rotation([1.0, 0.0, 0.0], np.radians(settings.two_theta_deg))
    origin = np.array([-beam_fast * layout.pixel_mm, beam_slow * layout.pixel_mm, -distance_mm])
    thickness = settings.sensor_mm if settings.parallax else 0.0
    return Panel(
        name=layout.name,
        shape=layout.shape,
        pixel_mm=(layout.pixel_mm, layout.pixel_mm),
        origin_mm=_vector(swing @ origin),
        fast_axis=_vector(swing @ [1.0, 0.0, 0.0]),
        slow_axis=_vector(swing @ [0.0, -1.0, 0.0]),
        thickness_mm=thickness,
        material="Si",
        mu_per_mm=mu_per_mm("Si", settings.wavelength_A),
    )


def _vector(v: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = v.tolist()
    return x, y, z


def pixel_cosines(panel: Panel, beam: Beam, rows: slice) -> npt.NDArray[np.float64]:
    """(rows, fast), cosine of the scattering angle at the centres of the pixels of some rows."""
    slow = (
        np.asarray(panel.origin_mm)
        + np.outer(np.arange(rows.start, rows.stop) + 0.5, panel.slow_axis) * (panel.pixel_mm[0])
    )
    fast = np.outer(np.arange(panel.shape[1]) + 0.5, panel.fast_axis) * panel.pixel_mm[1]
    direction = np.asarray(beam.direction)
    along = (slow @ direction)[:, None] + (fast @ direction)[None, :]
    square = (slow**2).sum(axis=1)[:, None] + (fast**2).sum(axis=1)[None, :] + 2.0 * slow @ fast.T
    return np.asarray(along / np.sqrt(square))


def highest_resolution(geometry: Geometry) -> float:
    """d_min in A of the detector's corners."""
    panel, beam = geometry.detector.panels[0], geometry.beam
    slow, fast = panel.shape
    corners = panel.lab_mm(np.array([0, 0, slow, slow]), np.array([0, fast, 0, fast]))
    corners = corners / np.linalg.norm(corners, axis=1)[:, None]
    half = 0.5 * np.arccos(np.clip(corners @ np.asarray(beam.direction), -1.0, 1.0))
    return float(beam.wavelength_A / (2.0 * np.sin(half.max())))
