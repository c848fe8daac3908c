"""Every setting of hdrmx, once: default, meaning, unit, limits.

The command line (`--set find_spots.sigma_strong=4`), the tables in `docs/parameters.md` and the
records are made from these classes. A default never also stands in a signature or a help text.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field, fields
from typing import Any

from hdrmx.errors import InputError


def param(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare one setting. `low` and `high` are inclusive."""
    return field(
        default=default, metadata={"meaning": meaning, "unit": unit, "low": low, "high": high, "choices": choices}
    )


@dataclass(frozen=True)
class Settings:
    """Base of the settings of one stage: checks limits when made."""

    def __post_init__(self) -> None:
        for f in fields(self):
            _check(f"{stage_name(type(self))}.{f.name}", getattr(self, f.name), f.metadata)


@dataclass(frozen=True)
class FindSpots(Settings):
    """Strong pixels by dispersion, joined to spots. Defaults are those of DIALS 3.12."""

    threshold: str = param(
        "dispersion_extended", "test that picks strong pixels", choices=("dispersion_extended", "dispersion")
    )
    kernel_px: int = param(3, "half-width of the local window", unit="px", low=1, high=15)
    sigma_background: float = param(6.0, "excess of a window's dispersion over a background's", unit="sigma", low=0)
    sigma_strong: float = param(3.0, "excess over the local mean of a strong pixel", unit="sigma", low=0)
    min_local: int = param(2, "fewest usable pixels in a window", unit="px", low=2)
    global_threshold: float = param(0.0, "a strong pixel has more counts than this", unit="count", low=0)
    gain: float = param(1.0, "counts per photon", low=1e-6)
    kernel: str = param(
        "auto",
        "read frames as events (pixels with counts) where they are sparse, or always or never; the answer is the same",
        choices=("auto", "dense", "sparse"),
    )
    min_pixels: int = param(0, "smallest spot kept; 0: 3 on pixel-array detectors, else 6", unit="px", low=0)
    max_pixels: int = param(1000, "largest spot kept", unit="px", low=1)
    max_separation_px: float = param(2.0, "largest distance from peak to centroid", unit="px", low=0)
    max_strong_fraction: float = param(0.25, "largest fraction of strong pixels in a frame", low=0, high=1)
    d_min: float | None = param(None, "drop spots of higher resolution", unit="A", low=0)
    d_max: float | None = param(None, "drop spots of lower resolution", unit="A", low=0)
    ice_rings: bool = param(False, "drop spots on the rings of hexagonal ice")
    ice_width: float = param(0.002, "full width of an ice ring in 1/d^2", unit="1/A^2", low=0)
    keep_pixels: bool = param(
        False,
        "keep the strong pixels of each spot: shoeboxes in strong.refl, which dials.integrate needs; "
        "memory and files grow with the number of strong pixels",
    )


@dataclass(frozen=True)
class Simulate(Settings):
    """A simulated data set. Lists are texts with commas; a preset (`simulate.presets`) changes some of these."""

    detector: str = param(
        "1M",
        "EIGER2 500K to 16M, PILATUS 2M and 6M, or a tiny one for tests",
        choices=("tiny", "500K", "1M", "4M", "9M", "16M", "pilatus2M", "pilatus6M"),
    )
    dtype: str = param("uint16", "pixel type (CBF files are int32)", choices=("uint16", "uint32"))
    frames: int = param(900, "frames of the scan", low=1)
    start_deg: float = param(0.0, "rotation angle at the start", unit="deg")
    width_deg: float = param(0.1, "rotation a frame; 0: stills", unit="deg", low=-45, high=45)
    grid_rows: int = param(0, "rows of a grid scan of stills, which replaces the rotation; 0: no grid", low=0)
    grid_columns: int = param(0, "columns of the grid", low=0)
    grid_step_um: float = param(20.0, "distance of grid points", unit="um", low=1e-3)
    grid_snake: bool = param(True, "every other row runs backwards")
    exposure_s: float = param(0.01, "exposure of a frame", unit="s", low=1e-9)
    distance_mm: float = param(100.0, "from the crystal to the detector", unit="mm", low=1)
    two_theta_deg: float = param(0.0, "swing of the detector about the lab's x axis", unit="deg", low=-90, high=90)
    beam_fast_px: float | None = param(None, "beam centre; auto: near the middle", unit="px")
    beam_slow_px: float | None = param(None, "beam centre; auto: near the middle", unit="px")
    wavelength_A: float = param(0.9763, "wavelength", unit="A", low=0.01, high=10)
    polarization: float = param(0.999, "fraction of the beam polarised in the horizontal plane", low=0, high=1)
    axis: str = param("1,0,0", "rotation axis in the imgCIF laboratory frame")
    sensor_mm: float = param(0.45, "thickness of the silicon sensor", unit="mm", low=0.001)
    parallax: bool = param(
        True, "photons are absorbed at their depth in the sensor, some pass; else all at its surface"
    )
    space_group: str = param("P 43 21 2", "any space group that gemmi knows")
    cell: str = param("79.1,79.1,37.9,90,90,90", "unit cell: a,b,c,alpha,beta,gamma", unit="A, deg")
    orientation_deg: str = param(
        "", "rotations about x, y, z, in this order, from the standard setting; '': by the seed"
    )
    d_min: float = param(0.0, "highest resolution that diffracts; 0: to the detector's corners", unit="A", low=0)
    b_factor: float = param(20.0, "Wilson B of the intensities", unit="A^2", low=0)
    photons: float = param(200.0, "mean photons of a fully recorded reflection on the detector", low=0)
    anomalous: float = param(0.0, "relative difference of Friedel mates' amplitudes (r.m.s.)", low=0, high=0.5)
    mosaicity_deg: float = param(0.08, "mosaic spread (sigma), widens the rocking curve", unit="deg", low=0.001, high=5)
    divergence_deg: float = param(
        0.02, "divergence of the beam (sigma), widens rocking curve and spots", unit="deg", low=0
    )
    spot_deg: float = param(0.03, "angular size of a spot without divergence (sigma)", unit="deg", low=1e-4, high=2)
    background: float = param(1.0, "mean background of the unshaded pixels", unit="count/px", low=0, high=100)
    air: float = param(
        0.3, "share of the background that falls off from the beam; the rest is a broad ring", low=0, high=1
    )
    ice: float = param(0.0, "height of the strongest ice ring above the background", unit="count/px", low=0)
    beam_stop_mm: float = param(1.5, "radius of the beam stop's shadow on the detector; 0: none", unit="mm", low=0)
    beam_stop_masked: bool = param(False, "the pixel mask knows of the beam stop's shadow (NXmx only)")
    dead_fraction: float = param(1e-4, "fraction of pixels that are dead and masked", low=0, high=0.5)
    hot_fraction: float = param(2e-5, "fraction of pixels that are noisy and masked", low=0, high=0.5)
    hot_unmasked: int = param(0, "noisy pixels that the mask does not know of", low=0)
    saturation: int = param(0, "highest trusted count; 0: 65000 for uint16, 4000000 for uint32", low=0)
    decay: float = param(0.0, "growth of B by radiation damage over the scan", unit="A^2", low=0)
    absorption: float = param(0.0, "largest change of intensity by absorption in the crystal", low=0, high=0.9)
    scale_variation: float = param(0.0, "amplitude of a smooth change of intensity over the scan", low=0, high=0.9)
    beam_noise: float = param(0.0, "r.m.s. change of the beam from frame to frame", low=0, high=0.3)
    drift_deg: float = param(0.0, "steady change of orientation over the scan", unit="deg", low=-10, high=10)
    slip_frame: int | None = param(None, "frame at whose beginning the crystal slips", low=1)
    slip_deg: float = param(0.5, "the angle it slips by", unit="deg", low=-45, high=45)
    second_lattice: float = param(0.0, "intensity of a second lattice, as a fraction of the first's", low=0, high=1)
    second_lattice_deg: float = param(
        5.0, "rotation from the first lattice to the second", unit="deg", low=-180, high=180
    )
    blank: str = param("", "frames without beam, first-last counted from 0, inclusive: 100-119,300-300")
    header_fast_px: float = param(0.0, "error of the header's beam centre", unit="px")
    header_slow_px: float = param(0.0, "error of the header's beam centre", unit="px")
    header_distance_mm: float = param(0.0, "error of the header's distance", unit="mm")
    layout: str = param(
        "vds",
        "NXmx files: virtual data set and links to data files, links only, or one file",
        choices=("vds", "links", "single"),
    )
    frames_per_file: int = param(1000, "frames of a data file", low=1)
    seed: int = param(1, "of everything random", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class Index(Settings):
    """Spots to a lattice, an orientation and indices."""

    method: str = param(
        "fft3d",
        "search for lattice vectors: Fourier transform in three dimensions, in one along many directions, "
        "or in real space for a known cell",
        choices=("fft3d", "fft1d", "real_space"),
    )
    space_group: str | None = param(None, "space group, or any of its Bravais type; auto: P 1 is refined")
    cell: str | None = param(None, "known unit cell: a,b,c,alpha,beta,gamma", unit="A, deg")
    cell_tolerance: float = param(0.05, "largest relative difference of edges from the known cell", low=0, high=0.5)
    angle_tolerance_deg: float = param(5.0, "largest difference of angles from a known cell", unit="deg", low=0)
    min_cell_A: float = param(3.0, "shortest lattice vector", unit="A", low=0.1)
    max_cell_A: float | None = param(None, "longest cell edge; auto: from distances of neighbours", unit="A", low=1)
    d_min: float | None = param(None, "search and refine with spots up to this resolution", unit="A", low=0)
    d_max: float | None = param(None, "and from this resolution", unit="A", low=0)
    min_spots: int = param(15, "fewest spots that are tried", low=6)
    tolerance: float = param(0.3, "largest distance of fractional indices from integers", low=0.01, high=0.5)
    assignment: str = param(
        "global", "indices by rounding, or carried from neighbour to neighbour", choices=("global", "local")
    )
    min_fraction: float = param(0.2, "smallest fraction of spots that a lattice must explain", low=0, high=1)
    joint: bool = param(False, "several sweeps are of one crystal as it was mounted: one lattice for all of them")
    max_stills: int = param(
        20, "most stills that are indexed without a known cell, which takes a second or so each", low=0
    )
    max_lattices: int = param(1, "lattices looked for, one after the other", low=1, high=100)
    min_lattice_spots: int = param(20, "fewest spots of a further lattice", low=6)
    min_separation_deg: float = param(1.0, "smallest misorientation of two lattices", unit="deg", low=0)
    macrocycles: int = param(5, "cycles of assignment and refinement, at growing resolution", low=1, high=100)
    per_degree: float = param(100.0, "spots a degree that refinement uses; 0: all", low=0)
    hold_distance: bool = param(False, "leave the detector's distance as the header says")
    hold_detector: bool = param(False, "leave the detector as the header says")
    max_rmsd_px: float = param(6.0, "largest r.m.s. distance of spots from their predictions", unit="px", low=0)
    beam_search: str = param(
        "auto",
        "look for the beam centre: where indexing fails without it, always, or never",
        choices=("auto", "always", "never"),
    )
    beam_search_mm: float = param(5.0, "largest error of the beam centre", unit="mm", low=0, high=100)
    bravais: bool = param(True, "make the table of Bravais settings")
    bravais_tolerance_deg: float = param(5.0, "largest angular misfit of a symmetry axis", unit="deg", low=0, high=15)


@dataclass(frozen=True)
class Refine(Settings):
    """Crystal and detector fitted to the indexed spots: a static cycle, then one with a crystal that varies."""

    scan_varying: str = param(
        "auto", "let orientation and cell vary along the scan; auto: where the spots suffice", choices=("auto", "never")
    )
    interval_deg: float | None = param(
        36.0,
        "distance of the points between which the crystal varies smoothly; auto: as fine as the data bear out",
        unit="deg",
        low=0.1,
    )
    slips: bool = param(True, "look for sudden turns of the crystal, and break its smooth course there")
    outliers: str = param(
        "mcd", "how spots that don't fit are found, before each cycle", choices=("mcd", "tukey", "none")
    )
    outlier_probability: float = param(
        0.975, "quantile of chi squared beyond which mcd rejects a spot", low=0.5, high=0.9999999
    )
    tukey_iqr: float = param(1.5, "interquartile ranges outside the quartiles beyond which tukey rejects", low=0)
    hold: str = param(
        "", "parts that stay: of distance, shift1, shift2, tau1, tau2, tau3, detector, cell, orientation (a,b,...)"
    )
    beam: str = param("", "parts of the beam that are refined: of in_plane, out_of_plane, wavelength (a,b,...)")
    per_degree: float = param(0.0, "spots a degree that are fitted; 0: all", low=0)
    max_steps: int = param(100, "most passes over the spots in a cycle", low=1)


@dataclass(frozen=True)
class Predict(Settings):
    """Reflections that the refined crystal brings onto the detector."""

    d_min: float | None = param(None, "highest resolution; auto: of the detector's farthest corner", unit="A", low=0.1)
    min_zeta: float = param(
        0.05, "smallest |axis . e1|: leaves out what lies too near the rotation axis", low=0, high=1
    )
    n_sigma: float = param(3.0, "radius of a reflection's foreground", unit="sigma", low=1, high=10)
    box_scale: float = param(2.0, "half-width of a box of pixels in radii of the foreground", low=1.1, high=10)


@dataclass(frozen=True)
class Integrate(Settings):
    """Intensities, by summation and by profile fitting."""

    background: str = param(
        "glm",
        "robust Poisson mean, mean of what Tukey's rule leaves, or plain mean of the pixels around",
        choices=("glm", "tukey", "mean"),
    )
    min_background_px: int = param(10, "fewest pixels that tell of the background", unit="px", low=1)
    overlaps: str = param(
        "exclude",
        "pixels that neighbours reach, too: left out of background and profile fit, or used as any other",
        choices=("exclude", "share"),
    )
    profile: bool = param(True, "fit profiles, beside summation")
    block_deg: float = param(5.0, "rotation over which reference profiles are learned", unit="deg", low=0.01)
    block_voxels: int = param(40_000_000, "most pixels of boxes kept for a block, which limits memory", low=1_000)
    grid_cells: int = param(3, "reference profiles along each edge of the detector", low=1, high=9)
    reference_sigma: float = param(10.0, "least I/sigma of a reflection that profiles are learned from", low=1)
    min_profile: float = param(0.75, "least usable fraction of what the scan records of a profile", low=0.05, high=1)
    kernel: str = param(
        "auto",
        "read frames as events (pixels with counts) where they are sparse, or always or never; the answer is the same",
        choices=("auto", "dense", "sparse"),
    )


@dataclass(frozen=True)
class Symmetry(Settings):
    """Point group and screw axes of the crystal, from intensities."""

    space_group: str | None = param(None, "known space group, which is then only brought to its setting")
    lattice_tolerance_deg: float = param(
        2.0, "largest angular misfit of an axis of the lattice's symmetry", unit="deg", low=0, high=15
    )
    d_min: float | None = param(None, "highest resolution looked at; auto: where intensities mean something", unit="A")
    turns: float = param(1.0, "turns of the first sweep that are looked at; 0: all", low=0)
    min_partiality: float = param(0.4, "least recorded fraction of a reflection", low=0, high=1)
    min_probability: float = param(
        0.8, "least probability of the best Laue group; below it, symmetry is said to be unsure", low=0, high=1
    )
    absences: bool = param(True, "look for screw axes")
    seed: int = param(1, "of the choice of unrelated pairs", low=0)


@dataclass(frozen=True)
class Scale(Settings):
    """What varied between equivalent observations: scale, decay, absorption; outliers; true errors."""

    model: str = param(
        "auto",
        "smooth along the scan; one scale and B a sweep (auto: below 1 degree); grids in place of B and absorption",
        choices=("auto", "physical", "kb", "array"),
    )
    scale_interval_deg: float | None = param(
        None, "distance of the points of the scale; auto: by width", unit="deg", low=0.01
    )
    decay_interval_deg: float | None = param(None, "distance of the points of B; auto: by width", unit="deg", low=0.01)
    decay: bool = param(True, "let B change along the scan")
    decay_restraint: float = param(0.1, "weight of B^2", unit="1/A^4", low=0)
    absorption: str = param(
        "auto",
        "surface of absorption: how rugged it may be; auto: low for scans of more than 60 degrees, else off",
        choices=("auto", "off", "low", "medium", "high"),
    )
    intensities: str = param(
        "combine",
        "by profile fit where weak and by summation where strong, or either alone",
        choices=("combine", "profile", "sum"),
    )
    outlier_sigma: float = param(
        6.0, "distance from the mean of its equivalents of an outlier; 0: none are rejected", unit="sigma", low=0
    )
    error_model: str = param(
        "dials",
        "a and b of a^2 (sigma^2 + (b I)^2): as DIALS finds and uses them, from the exact likelihood, or 1 and 0",
        choices=("dials", "exact", "none"),
    )
    min_expected: float = param(25.0, "least mean intensity of what the error model is found from", low=0)
    min_partiality: float = param(0.4, "least recorded fraction of a reflection", low=0, high=1)
    fit_partiality: float = param(0.95, "least recorded fraction of what is fitted", low=0, high=1)
    min_i_over_sigma: float = param(-5.0, "least I/sigma of an observation")
    d_min: float | None = param(None, "highest resolution scaled", unit="A", low=0)
    d_max: float | None = param(None, "lowest resolution scaled", unit="A", low=0)
    fit_observations: int = param(200_000, "observations, in whole groups, that the model is fitted to; 0: all", low=0)
    tolerance: float = param(1e-5, "relative change of the target at which a fit ends", low=1e-12, high=0.1)
    max_steps: int = param(50, "most steps of a fit", low=1)
    consistent_indexing: bool = param(
        True, "where the lattice allows several, bring the sweeps to one choice of indices"
    )


@dataclass(frozen=True)
class Merge(Settings):
    """Merged intensities, amplitudes, and figures of their quality."""

    shells: int = param(20, "shells of equal reciprocal volume", low=1, high=1000)
    d_min: float | None = param(None, "highest resolution merged", unit="A", low=0)
    d_max: float | None = param(None, "lowest resolution merged", unit="A", low=0)
    cc_half: float = param(0.3, "CC1/2 at the resolution limit that is suggested", low=0.01, high=0.99)
    wilson_reflections: int = param(200, "fewest reflections of a shell whose mean intensity is a prior", low=10)
    free_sets: int = param(20, "sets of the cross-validation flag", low=2, high=1000)
    seed: int = param(1, "of halves and free sets", low=0)


@dataclass(frozen=True)
class Params:
    """The settings of all stages."""

    find_spots: FindSpots = field(default_factory=FindSpots)
    index: Index = field(default_factory=Index)
    refine: Refine = field(default_factory=Refine)
    predict: Predict = field(default_factory=Predict)
    integrate: Integrate = field(default_factory=Integrate)
    symmetry: Symmetry = field(default_factory=Symmetry)
    scale: Scale = field(default_factory=Scale)
    merge: Merge = field(default_factory=Merge)


def stage_name(settings: type) -> str:
    """`FindSpots` is the stage `find_spots`."""
    return "".join("_" + c.lower() if c.isupper() else c for c in settings.__name__).lstrip("_")


def override(params: Params, assignments: typing.Iterable[str]) -> Params:
    """Apply `stage.name=value` texts, as given to `--set`. Raises InputError naming the setting at fault."""
    for text in assignments:
        key, eq, value = text.partition("=")
        stage, dot, name = key.strip().partition(".")
        if not (eq and dot):
            raise InputError("--set", f"'{text}' is not of the form stage.name=value", "see `hdrmx params`")
        settings = getattr(params, stage, None)
        if settings is None or name not in {f.name for f in fields(settings)}:
            raise InputError("--set", f"there is no setting '{key.strip()}'", "see `hdrmx params` for all of them")
        new = dataclasses.replace(settings, **{name: _parse(key.strip(), type(settings), name, value.strip())})
        params = dataclasses.replace(params, **{stage: new})
    return params


def _parse(key: str, settings: type, name: str, text: str) -> Any:
    kind = typing.get_type_hints(settings)[name]
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in options and text.lower() in ("none", "auto", ""):
        return None
    kind = next(o for o in options if o is not type(None))
    if kind is bool:
        if text.lower() in ("true", "yes", "on", "1"):
            return True
        if text.lower() in ("false", "no", "off", "0"):
            return False
        raise InputError("--set", f"{key} is '{text}'", "it takes true or false")
    try:
        return kind(text)
    except ValueError:
        raise InputError("--set", f"{key} is '{text}'", f"it takes a value of type {kind.__name__}") from None


def _check(key: str, value: Any, meta: typing.Mapping[str, Any]) -> None:
    if value is None:
        return
    if meta.get("choices") and value not in meta["choices"]:
        raise InputError(key, f"is '{value}'", f"it must be one of {', '.join(meta['choices'])}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value:
            raise InputError(key, "is not a number", "give a finite value")
        if meta.get("low") is not None and value < meta["low"]:
            raise InputError(key, f"is {value}", f"it must be at least {meta['low']}")
        if meta.get("high") is not None and value > meta["high"]:
            raise InputError(key, f"is {value}", f"it must be at most {meta['high']}")
