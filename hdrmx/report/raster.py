"""Pictures of arrays: PNG in the page itself, and SVG that has one as its ground."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from hdrmx.report.figures import BOTTOM, LEFT, RIGHT, TOP, Floats, Frame, Tick, axes_of

Bytes = npt.NDArray[np.uint8]

# From dark to light, in about even steps of lightness, so that they also tell apart in grey.
_GLOW = ((13, 8, 35), (59, 28, 104), (124, 43, 125), (189, 64, 106), (236, 108, 72), (251, 174, 92), (252, 248, 196))
# From below the mean (blue) through it (near white) to above (red).
_SPLIT = ((33, 76, 152), (110, 160, 214), (240, 240, 236), (226, 140, 106), (158, 32, 47))
_PAPER = ((255, 255, 255), (190, 198, 208), (108, 118, 132), (40, 48, 60), (0, 0, 0))  # counts as ink
NOTHING = 255
_NOTHING_COLOUR = (128, 134, 142)
PALETTES = {"glow": _GLOW, "split": _SPLIT, "paper": _PAPER}


def levels(values: npt.ArrayLike, low: float, high: float) -> Bytes:
    """Values as 0 to 254 between two limits; 255 where there is none."""
    values = np.asarray(values, float)
    span = high - low if high > low else 1.0
    with np.errstate(invalid="ignore"):
        scaled = np.clip((values - low) / span, 0.0, 1.0) * (NOTHING - 1)
    return np.where(np.isfinite(values), np.rint(np.nan_to_num(scaled)), NOTHING).astype(np.uint8)


def colours(palette: str) -> Bytes:
    """(256, 3): of levels 0 to 254, and of nothing."""
    stops = np.array(PALETTES[palette], float)
    at = np.linspace(0, len(stops) - 1, NOTHING)
    table = np.column_stack([np.interp(at, np.arange(len(stops)), stops[:, i]) for i in range(3)])
    return np.vstack([np.rint(table), _NOTHING_COLOUR]).astype(np.uint8)


def png(image: Bytes, palette: str) -> bytes:
    """A PNG of levels (slow, fast), indexed colours."""
    height, width = image.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = image
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", colours(palette).tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    out = b"\x89PNG\r\n\x1a\n"
    for kind, content in parts:
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return out


def data_uri(image: Bytes, palette: str) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image, palette)).decode()


def tile(title: str, image: Bytes, palette: str, text: str = "") -> str:
    """A small picture with a line below."""
    below = f"<span>{escape(text)}</span>" if text else ""
    return f'<div class="tile"><img class="pixels" src="{data_uri(image, palette)}" alt="{escape(title)}">{below}</div>'


def map_over(
    title: str,
    image: Bytes,
    palette: str,
    x: tuple[float, float],
    y: tuple[float, float],
    ticks: tuple[Sequence[Tick], Sequence[Tick]],
    labels: tuple[str, str],
    marks: str = "",
    *,
    width: int = 520,
    height: int | None = None,
) -> str:
    """A picture with axes.

    Parameters
    ----------
    x, y : what the edges of the picture are; `y[0]` is its upper edge
    ticks : (position, text) of either axis
    marks : SVG to be drawn over it, in the coordinates that `place` gives
    height : of the whole; None: a pixel is square
    """
    frame = place(image.shape, x, y, width, height)
    inner = frame.width - LEFT - RIGHT, frame.height - TOP - BOTTOM
    ground = (
        f'<image href="{data_uri(image, palette)}" x="{LEFT}" y="{TOP}" width="{inner[0]}" height="{inner[1]}" '
        f'preserveAspectRatio="none" class="pixels"/>'
    )
    axes = axes_of(frame, ticks[0], [(v, t) for v, t in ticks[1]], *labels)
    return (
        f'<div class="chart map"><svg style="--w:{frame.width}px" viewBox="0 0 {frame.width} {frame.height}" '
        f'role="img" aria-label="{escape(title)}">{ground}{axes}{marks}</svg></div>'
    )


def place(
    shape: tuple[int, ...], x: tuple[float, float], y: tuple[float, float], width: int, height: int | None = None
) -> Frame:
    """From values to the coordinates of `map_over`."""
    inner = width - LEFT - RIGHT
    return Frame(x, (y[1], y[0]), width, height or round(inner * shape[0] / shape[1]) + TOP + BOTTOM)


def scale_bar(palette: str, low: str, high: str) -> str:
    """The colours of a picture from low to high, in words at either end."""
    stripe = data_uri(np.arange(NOTHING, dtype=np.uint8)[None, :], palette)
    image = f'<img class="pixels" src="{stripe}" alt="">'
    return f'<p class="bar"><span>{escape(low)}</span>{image}<span>{escape(high)}</span></p>'


def limits_of(values: Floats, part: float = 0.999) -> tuple[float, float]:
    """0 and a high quantile of what is there; (0, 1) for nothing."""
    known = values[np.isfinite(values)]
    top = float(np.quantile(known, part)) if len(known) else 1.0
    return 0.0, top if top > 0 else 1.0
