"""Parameters of scaling as a table, and which sweeps hang together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hdrmx.scaling.model import Model

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def parameter_table(model: Model, parameters: Floats, covariances: Floats) -> pd.DataFrame:
    """Columns sweep, part, frame, term, value, sd.

    Part is scale, decay or absorption; frame that of a point, or NaN; term "l,m", the place in a grid, or empty.
    """
    rows = []
    for number, (sweep, block) in enumerate(zip(model.sweeps, covariances)):
        places = [("scale", f, "") for f in sweep.scale.positions]
        if sweep.decay is not None:
            places += [("decay", f, "") for f in sweep.decay.positions]
        if sweep.grids is not None:
            places += sweep.grids.places()
        for l in range(1, sweep.l_max + 1):
            places += [("absorption", float("nan"), f"{l},{m}") for m in range(-l, l + 1)]
        sds = np.sqrt(np.maximum(np.diag(block)[: sweep.n], 0.0))
        for (part, frame, term), value, sd in zip(places, parameters[sweep.columns], sds):
            rows.append((number, part, float(frame), term, float(value), float(sd)))
    return pd.DataFrame(rows, columns=["sweep", "part", "frame", "term", "value", "sd"])


def islands(sweep: npt.NDArray[np.int32], group: Ints, n_sweeps: int) -> int:
    """Sets of sweeps with no reflection in common; their relative scales can't be told."""
    n_groups = int(group.max()) + 1 if len(group) else 0
    pairs = sparse.coo_matrix(
        (np.ones(len(sweep), np.int8), (sweep.astype(np.int64), n_sweeps + group)), shape=(n_sweeps + n_groups,) * 2
    )
    _, label = sparse.csgraph.connected_components(pairs, directed=False)
    return len(np.unique(label[np.unique(sweep)]))
