"""Kernels of integration compiled, or loaded from the cache, before anything is timed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from hdrmx.frames import Codec, Frame
from hdrmx.integration.profile_model import ProfileModel
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan
from hdrmx.params import Integrate, Predict

_SHAPE, _FRAMES = (64, 64), 6


def warm_up(dtype: npt.DTypeLike) -> float:
    """Predict and integrate a few tiny frames of this dtype. Returns seconds.

    Decoding is warmed up by `kernels.warm`.
    """
    from hdrmx.stages.integrate import integrate  # callers of kernels, so imported only when called
    from hdrmx.stages.predict import predict

    begin = time.perf_counter()
    panel = Panel("warm-up", _SHAPE, (0.1, 0.1), (-3.2, 3.2, -40.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    goniometer, scan = Goniometer((1.0, 0.0, 0.0)), Scan(0, _FRAMES, 0.0, 0.02)
    geometry = Geometry(Beam(1.0), Detector((panel,), (0.0, 1e4)), goniometer, scan)
    crystal = Crystal(((0.03, 0.0, 0.004), (0.0, 0.028, 0.0), (0.003, 0.0, 0.025)))
    profile = ProfileModel(0.003, 0.006)
    table = predict([crystal], geometry, profile, Predict()).table
    pixels = np.random.default_rng(0).poisson(2.0, (_FRAMES, *_SHAPE)).astype(dtype)
    at = np.floor(table[["frame", "slow", "fast"]].to_numpy()).astype(int)
    for z, y, x in at[(table["frame"] > 1) & (table["frame"] < _FRAMES - 1)]:
        pixels[z, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] += np.array(60).astype(dtype)
    frames = [_raw(k, image) for k, image in enumerate(pixels)]
    integrate(table, frames, np.ones(_SHAPE, bool), geometry, profile, Integrate(grid_cells=1, reference_sigma=3.0))
    _warm_events()
    return time.perf_counter() - begin


def _warm_events() -> None:
    from hdrmx.kernels.integrate_collect import collect_events

    events = (np.zeros(1, np.int32), np.zeros(1, np.uint32), np.zeros(2, np.int32), 256, 10)
    frame = (np.zeros(1, np.uint8), 1, 0, 0)
    boxes = (np.zeros((1, 6), np.int32), np.zeros((1, 4), np.int32))
    rest = (np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.uint8), np.zeros(1, np.int32))
    arguments: tuple[Any, ...] = (*events, *frame, *boxes, *rest)
    collect_events(*arguments)


def _raw(number: int, image: npt.NDArray) -> Frame:
    payload = image.reshape(-1).view(np.uint8)
    return Frame(number, image.shape, image.dtype, Codec.RAW, lambda: payload, "warm-up")
