"""Observations and models as the flat arrays that the kernels of refinement read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hdrmx.models import Geometry
from hdrmx.refinement.breaks import segments
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parallax import px_to_mm
from hdrmx.refinement.parameters import Parametrisation, about, detector_frame, out_axis

Array = npt.NDArray[np.float64]


class Data(NamedTuple):
    """What doesn't change while parameters do; n reflections."""

    hkl: Array  # (n, 3)
    crystal: npt.NDArray[np.int32]  # (n,)
    block: npt.NDArray[np.int32]  # (n,) first of the sample points that bear on it
    smooth: Array  # (n, 3) weights of that and the next two
    segment: npt.NDArray[np.int32]  # (n,) 0 before the first slip, else 1 + number of the slip
    panel: npt.NDArray[np.int32]  # (n,)
    sense: Array  # (n,) +1 entering, -1 leaving the Ewald sphere
    target: Array  # (n, 3) observed X (fast) mm, Y (slow) mm, phi rad
    weight: Array  # (n, 3) 1/variance
    A0: Array  # (n_crystals, 3, 3) spindle frame
    strains: Array  # (n_crystals, 6, 3, 3)
    border: npt.NDArray[np.int64]  # free ones of the nine of detector and beam, and of three a slip
    columns: npt.NDArray[np.int64]  # free ones of the nine of a crystal


class State(NamedTuple):
    """Models at one set of values, in the spindle frame."""

    blocks: Array  # (n_blocks, 9) rotations, strains
    offsets: Array  # (n_slips, 3) rotations added after each slip
    s0: Array  # (3,) 1/A
    D: Array  # (n_panels, 3, 3) inverse of (fast, slow, origin)
    shift: Array  # (3, 3) directions of the detector's translations
    turn: Array  # (3, 3) axes of its rotations, as they act now
    centre: Array  # (3,) mm, point about which it turns
    beam_turn: Array  # (2, 3) axes of the beam's rotations, as they act now
    beam_scale: float  # d(s0)/d(relative wavelength) = -beam_scale * s0


def data(obs: Observations, model: Parametrisation) -> Data:
    """Positions to mm and radians, variances to weights. A variance of 0 counts as that of a twentieth of a pixel."""
    geometry = model.geometry
    assert geometry.scan is not None
    target, variance = positions_mm(obs, geometry)
    start, smooth = model.smoother.weights(obs.frame)
    return Data(
        hkl=obs.hkl.astype(float),
        crystal=np.ascontiguousarray(obs.lattice, np.int32),
        block=(obs.lattice * model.smoother.n_samples + start).astype(np.int32),
        smooth=smooth,
        segment=segments(model.slips, obs.lattice, obs.frame),
        panel=np.ascontiguousarray(obs.panel, np.int32),
        sense=np.where(obs.entering, 1.0, -1.0),
        target=target,
        weight=1.0 / variance,
        A0=model.A0,
        strains=model.strains,
        border=model.border,
        columns=model.block,
    )


def rebound(data: Data, model: Parametrisation) -> Data:
    """The same reflections for a parametrisation of the same models with other parts free."""
    return data._replace(A0=model.A0, strains=model.strains, border=model.border, columns=model.block)


def positions_mm(obs: Observations, geometry: Geometry) -> tuple[Array, Array]:
    """(n, 3) X mm, Y mm, phi rad observed, and their variances."""
    assert geometry.scan is not None
    target, variance = np.empty((len(obs), 3)), np.empty((len(obs), 3))
    for i, panel in enumerate(geometry.detector.panels):
        on = slice(None) if len(geometry.detector.panels) == 1 else np.flatnonzero(obs.panel == i)
        target[on, 1], target[on, 0] = px_to_mm(panel, obs.slow[on], obs.fast[on])
        variance[on, 0] = np.maximum(obs.fast_var[on], 0.05**2) * panel.pixel_mm[1] ** 2
        variance[on, 1] = np.maximum(obs.slow_var[on], 0.05**2) * panel.pixel_mm[0] ** 2
    target[:, 2] = geometry.scan.angle_rad(obs.frame)
    variance[:, 2] = np.maximum(obs.frame_var, 0.05**2) * geometry.scan.width_rad**2
    return target, variance


def state(model: Parametrisation, values: Array) -> State:
    """The models at these values and the directions in which each parameter moves them."""
    full = model.border_values(values)
    geometry = model.geometry_at(values)
    frame = detector_frame(model.geometry.detector, model.geometry.beam)
    rotate = model.to_spindle
    axes, tau = frame.axes, full[3:6]
    third = about(axes[2], tau[2])
    turning = np.array([third @ about(axes[1], tau[1]) @ axes[0], third @ axes[1], axes[2]])
    out = out_axis(rotate @ np.asarray(model.geometry.beam.direction))
    in_axis = about(out, full[7]) @ np.array([0.0, 1.0, 0.0])
    return State(
        blocks=model.block_values(values),
        offsets=model.offsets(values),
        s0=rotate @ geometry.beam.s0,
        D=np.array([np.linalg.inv(rotate @ p.d_matrix) for p in geometry.detector.panels]),
        shift=np.ascontiguousarray(axes @ rotate.T),
        turn=np.ascontiguousarray(turning @ rotate.T),
        centre=rotate @ (frame.pivot + full[:3] @ axes),
        beam_turn=np.array([in_axis, out]),
        beam_scale=1.0 / (1.0 + full[8]),
    )
