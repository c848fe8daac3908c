"""The JSON of an experiment list, as far as hdrmx reads it; what else a file has is passed over."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Triple = tuple[float, float, float]
Pair = tuple[float, float]
Nine = Annotated[list[float], msgspec.Meta(min_length=9, max_length=9)]
_EYE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


class BeamJson(msgspec.Struct):
    direction: Triple
    wavelength: float
    divergence: float = 0.0
    polarization_normal: Triple = (0.0, 1.0, 0.0)
    polarization_fraction: float = 0.999
    flux: float = 0.0


class StrategyJson(msgspec.Struct):
    type: str = "SimplePxMmStrategy"


class PanelJson(msgspec.Struct):
    origin: Triple
    fast_axis: Triple
    slow_axis: Triple
    image_size: tuple[int, int]
    pixel_size: Pair
    name: str = ""
    type: str = "SENSOR_UNKNOWN"
    raw_image_offset: tuple[int, int] = (0, 0)
    trusted_range: Pair = (0.0, 65535.0)
    thickness: float = 0.0
    material: str = ""
    mu: float = 0.0
    identifier: str = ""
    gain: float = 1.0
    px_mm_strategy: StrategyJson = msgspec.field(default_factory=StrategyJson)


class NodeJson(msgspec.Struct):
    """A group of panels, or (with `panel` alone) the place of a panel in its group."""

    panel: int | None = None
    fast_axis: Triple = (1.0, 0.0, 0.0)
    slow_axis: Triple = (0.0, 1.0, 0.0)
    origin: Triple = (0.0, 0.0, 0.0)
    children: list[NodeJson] = []


class DetectorJson(msgspec.Struct):
    panels: list[PanelJson]
    hierarchy: NodeJson | None = None


class GoniometerJson(msgspec.Struct):
    """One axis and two rotations, or a list of axes."""

    rotation_axis: Triple = (1.0, 0.0, 0.0)
    fixed_rotation: Nine = msgspec.field(default_factory=lambda: list(_EYE))
    setting_rotation: Nine = msgspec.field(default_factory=lambda: list(_EYE))
    axes: list[Triple] = []
    angles: list[float] = []
    names: list[str] = []
    scan_axis: int = 0


class ScanJson(msgspec.Struct):
    image_range: tuple[int, int]
    oscillation: Pair
    exposure_time: list[float] | float = 0.0


class CrystalJson(msgspec.Struct):
    real_space_a: Triple
    real_space_b: Triple
    real_space_c: Triple
    space_group_hall_symbol: str = " P 1"
    A_at_scan_points: list[Nine] | None = None
    mosaicity: float | None = None


class ImagesJson(msgspec.Struct):
    template: str = ""
    images: list[str] | None = None


class EntryJson(msgspec.Struct):
    """Which models make an experiment, by their place in the lists."""

    beam: int | None = None
    detector: int | None = None
    goniometer: int | None = None
    scan: int | None = None
    crystal: int | None = None
    profile: int | None = None
    imageset: int | None = None
    identifier: str = ""


class ExptJson(msgspec.Struct):
    experiment: list[EntryJson]
    id: str = msgspec.field(name="__id__", default="")
    beam: list[BeamJson] = []
    detector: list[DetectorJson] = []
    goniometer: list[GoniometerJson | None] = []
    scan: list[ScanJson | None] = []
    crystal: list[CrystalJson] = []
    profile: list[dict[str, Any]] = []
    imageset: list[ImagesJson] = []
