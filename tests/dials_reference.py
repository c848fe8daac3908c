"""What DIALS's spot finder found, as `tests/reference/make_dials_reference.py` kept it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hdrmx import tables

FOLDER = Path(__file__).parent / "reference" / "dials"


@dataclass(frozen=True)
class Reference:
    """One set. `strong`: flat indices of the strong pixels of each frame, ascending; `spots`: by (frame, slow, fast),
    peaks NaN; `about`: its entry in `sets.json`."""

    strong: dict[int, np.ndarray]
    spots: pd.DataFrame
    about: dict


def load(name: str) -> Reference:
    about = json.loads((FOLDER / "sets.json").read_text())[name]
    return Reference(*load_from(FOLDER / f"{name}.npz"), about)


def load_from(path: Path) -> tuple[dict[int, np.ndarray], pd.DataFrame]:
    """`strong` and `spots` of one file that `make_dials_reference.arrays_of` made."""
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    steps = np.split(arrays["strong_steps"].astype(np.int64), np.cumsum(arrays["n_strong"])[:-1])
    strong = {int(frame): np.cumsum(part) for frame, part in zip(arrays["frames"], steps, strict=True)}
    spots = tables.empty(tables.SPOTS, len(arrays["n_pixels"]))
    for axis, column in enumerate(("fast", "slow", "frame")):
        spots[column] = arrays["fast_slow_frame"][:, axis]
        spots[f"{column}_var"] = arrays["variance"][:, axis].astype(float)
        for end in (0, 1):
            spots[f"{column}_{('min', 'max')[end]}"] = arrays["box"][:, 2 * axis + end].astype("int32")
    spots["intensity"] = arrays["intensity"].astype(float)
    spots["n_pixels"] = arrays["n_pixels"].astype("int32")
    spots["peak"] = np.nan
    return strong, spots
