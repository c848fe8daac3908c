"""What changes intensities: frame by frame, with dose, and with the path through the crystal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Geometry
from hdrmx.params import Simulate
from hdrmx.simulate.crystal import Array
from hdrmx.simulate.geometry import n_frames
from hdrmx.simulate.predict import rotate
from hdrmx.simulate.rng import For, generator, make_key, normals


def frame_scales(settings: Simulate) -> Array:
    """(n_frames,) intensity of the beam on the crystal, about 1, and 0 in blank frames."""
    n = n_frames(settings)
    rng = generator(settings.seed, For.SCALES)
    t = (np.arange(n) + 0.5) / n
    phase = rng.uniform(0.0, 2.0 * np.pi, 2)
    wave = 0.7 * np.sin(2.0 * np.pi * t + phase[0]) + 0.3 * np.sin(6.0 * np.pi * t + phase[1])
    scale = 1.0 + settings.scale_variation * wave
    scale *= 1.0 + settings.beam_noise * normals(make_key(settings.seed, For.SCALES, 1), np.arange(n, dtype=np.uint64))
    scale = np.maximum(scale, 0.0)
    scale[blank_frames(settings)] = 0.0
    return scale


def blank_frames(settings: Simulate) -> npt.NDArray[np.bool_]:
    """(n_frames,) True where the shutter was closed. Raises InputError for ranges that are none."""
    n = n_frames(settings)
    blank = np.zeros(n, bool)
    for text in settings.blank.replace(" ", "").split(","):
        if not text:
            continue
        first, _, last = text.partition("-")
        try:
            begin, end = int(first), int(last or first)
        except ValueError:
            raise InputError("blank", f"'{text}' is no range of frames", "write 100-119,300-300") from None
        if not 0 <= begin <= end < n:
            raise InputError("blank", f"'{text}' is not within frames 0-{n - 1}", "write 100-119,300-300")
        blank[begin : end + 1] = True
    return blank


def grid_thickness(settings: Simulate) -> tuple[Array, Array]:
    """(n_frames,) crystal in the beam, 0 to 1, and what scatters besides, 0.25 (air) to 1 (loop), along a grid scan.

    The crystal is an ellipsoid, somewhat off the middle and turned; the loop is a larger disc round it.
    """
    row, column = grid_positions(settings)
    y = (row + 0.5) / settings.grid_rows - 0.55
    x = (column + 0.5) / settings.grid_columns - 0.45
    angle = np.radians(25.0)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    crystal = np.sqrt(np.maximum(0.0, 1.0 - (u / 0.30) ** 2 - (v / 0.18) ** 2))
    loop = np.where((x / 0.42) ** 2 + (y / 0.38) ** 2 < 1.0, 1.0, 0.25)
    return crystal, loop


def grid_positions(settings: Simulate) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(n_frames,) row and column of each frame of a grid scan."""
    row, column = np.divmod(np.arange(n_frames(settings)), settings.grid_columns)
    if settings.grid_snake:
        column = np.where(row % 2 == 1, settings.grid_columns - 1 - column, column)
    return row, column


def decay(settings: Simulate, z: Array, d_A: Array) -> Array:
    """(n,) loss by radiation damage, which raises B in proportion to the frames exposed so far."""
    if not settings.decay:
        return np.ones(len(z))
    dose = np.clip(z / n_frames(settings), 0.0, 1.0)
    return np.asarray(np.exp(-settings.decay * dose / (2.0 * d_A**2)))


def absorption(settings: Simulate, s1: Array, phi: Array, geometry: Geometry) -> Array:
    """(n,) transmission of the crystal and its mount, 1 - absorption to 1.

    A smooth function (of first and second order) of the beams' directions seen from the crystal,
    the mean of the incoming and the outgoing beam's.
    """
    if not settings.absorption or geometry.goniometer is None:
        return np.ones(len(s1))
    axis = geometry.goniometer.lab_axis
    rng = generator(settings.seed, For.SCALES, 2)
    vector, form = rng.normal(size=3), rng.normal(size=(3, 3))
    vector = vector / np.linalg.norm(vector)
    form = (form + form.T) / np.abs(np.linalg.eigvalsh(form + form.T)).max()

    def surface(v: Array) -> Array:  # within -1 .. 1
        return 0.5 * (v @ vector) + 0.5 * np.einsum("ni,ij,nj->n", v, form, v)

    incoming = np.broadcast_to(-np.asarray(geometry.beam.direction), s1.shape)
    outgoing = s1 * geometry.beam.wavelength_A
    mean = 0.5 * (surface(rotate(incoming, axis, -phi)) + surface(rotate(outgoing, axis, -phi)))
    return 1.0 - settings.absorption * 0.5 * (1.0 + mean)
