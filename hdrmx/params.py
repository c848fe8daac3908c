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


@dataclass(frozen=True)
class Params:
    """The settings of all stages."""

    find_spots: FindSpots = field(default_factory=FindSpots)


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
