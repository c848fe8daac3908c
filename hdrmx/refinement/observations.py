"""The indexed spots that refinement reads, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Observations:
    """Indexed spots, n rows; columns as in `tables.INDEXED`.

    Attributes
    ----------
    row : (n,) int64, row of the table each comes from
    hkl : (n, 3) int32, never 0 0 0
    lattice : (n,) int32, position in the list of crystals
    panel : (n,) int32
    frame, slow, fast : (n,) frame and px
    frame_var, slow_var, fast_var : (n,) frame^2 and px^2
    entering : (n,) bool
    """

    row: npt.NDArray[np.int64]
    hkl: npt.NDArray[np.int32]
    lattice: npt.NDArray[np.int32]
    panel: npt.NDArray[np.int32]
    frame: Floats
    slow: Floats
    fast: Floats
    frame_var: Floats
    slow_var: Floats
    fast_var: Floats
    entering: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Observations:
        """The rows of a mask or of a list of positions."""
        return Observations(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def observations(indexed: pd.DataFrame) -> Observations:
    """The rows of an indexed table that have a lattice and an index, in the table's order."""
    hkl = indexed[["h", "k", "l"]].to_numpy(np.int32)
    row = np.flatnonzero((indexed["lattice"].to_numpy() >= 0) & hkl.any(axis=1))
    plain = {
        name: indexed[name].to_numpy()[row]
        for name in (
            "lattice",
            "panel",
            "frame",
            "slow",
            "fast",
            "frame_var",
            "slow_var",
            "fast_var",
            "entering",
        )
    }
    return Observations(row=row, hkl=hkl[row], **plain)
