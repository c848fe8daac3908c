"""What scaling found, at a glance: the model along the scan, where absorption was seen, and the outliers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.scaling.model import Model, crystal_directions
from hdrmx.scaling.observations import Sweep

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SEEN_GRID = (18, 36)  # cells in cos(theta) and phi of the frame of the crystal
MOST_OUTLIERS = 2000


def along_scans(observations: pd.DataFrame, sweeps: Sequence[Sweep], model: Model, parameters: Floats) -> pd.DataFrame:
    """One row a frame of each sweep's scan.

    Parameters
    ----------
    observations : columns `tables.SCALED`

    Returns
    -------
    Columns sweep, frame, angle_deg (its middle), scale (C), b_A2 (B; NaN without decay), n, n_rejected. Intensities are
    divided by C exp(B / 2d^2), so that B below 0 means a decay that was made good.
    """
    parts = []
    of_sweep, frame = observations["sweep"].to_numpy(), observations["frame"].to_numpy()
    rejected = observations["rejected"].to_numpy()
    for number, (sweep, own) in enumerate(zip(sweeps, model.sweeps)):
        scan = sweep.geometry.scan
        first, n = (scan.first, scan.n_frames) if scan is not None else (0, 1)
        middle = first + np.arange(n) + 0.5
        scale, decay, _ = own.parts(parameters)
        mine = of_sweep == number
        at = np.clip(np.floor(frame[mine]).astype(np.int64) - first, 0, n - 1)
        rows = {
            "sweep": np.full(n, number),
            "frame": first + np.arange(n),
            "angle_deg": np.full(n, np.nan) if scan is None else np.degrees(scan.angle_rad(middle)),
            "scale": own.scale.at(middle, scale),
            "b_A2": np.full(n, np.nan) if own.decay is None else own.decay.at(middle, decay),
            "n": np.bincount(at, minlength=n),
            "n_rejected": np.bincount(at[rejected[mine]], minlength=n),
        }
        parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


def directions_seen(observations: pd.DataFrame, row: Ints, sweeps: Sequence[Sweep], number: int) -> Ints:
    """(18, 36) rays of a sweep, in and out, that passed through each part of the crystal's sphere.

    Rows by cos(theta) from 1 to -1, columns by phi from -180 degrees; nothing was learned of absorption where it is 0.
    """
    mine = np.flatnonzero(observations["sweep"].to_numpy() == number)
    geometry = sweeps[number].geometry
    count = np.zeros(SEEN_GRID, np.int64)
    if geometry.scan is None or geometry.goniometer is None or len(mine) == 0:
        return count
    s1 = sweeps[number].observations[["s1_x", "s1_y", "s1_z"]].to_numpy()[row[mine]]
    for directions in crystal_directions(geometry, observations["frame"].to_numpy()[mine], s1):
        slow = np.clip(((1 - directions[:, 2]) / 2 * SEEN_GRID[0]).astype(np.int64), 0, SEEN_GRID[0] - 1)
        phi = np.arctan2(directions[:, 1], directions[:, 0])
        fast = np.clip(((phi + np.pi) / (2 * np.pi) * SEEN_GRID[1]).astype(np.int64), 0, SEEN_GRID[1] - 1)
        count += np.bincount(slow * SEEN_GRID[1] + fast, minlength=count.size).reshape(SEEN_GRID)
    return count


def outlier_table(observations: pd.DataFrame, mean: Floats, deviation: Floats) -> pd.DataFrame:
    """The rejected observations (`tables.SCALED`), farthest first, at most 2000.

    Columns h, k, l, sweep, frame, slow, fast (where seen), intensity, sigma, mean (of the others), deviation (sigmas).
    """
    rejected = np.flatnonzero(observations["rejected"].to_numpy())
    far = np.nan_to_num(np.abs(deviation[rejected]))
    rows = rejected[np.argsort(-far, kind="stable")][:MOST_OUTLIERS]
    chosen = observations.iloc[rows]
    names = {"h": "h", "k": "k", "l": "l", "sweep": "sweep", "frame": "frame", "slow": "slow_obs", "fast": "fast_obs"}
    columns = {name: chosen[source].to_numpy() for name, source in names.items()}
    columns |= {"intensity": chosen["intensity"].to_numpy(), "sigma": chosen["sigma"].to_numpy()}
    return pd.DataFrame(columns | {"mean": mean[rows], "deviation": deviation[rows]})
