"""Classes of growth, n^power (log n)^logs: their names, order and values."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError

Floats = npt.NDArray[np.float64]

_WORDS = {"constant": "1", "const": "1", "linear": "n", "quadratic": "n^2", "cubic": "n^3", "linearithmic": "n log n"}
_POWER = r"n(?:(?:\^|\*\*)\s*\(?\s*(\d+(?:\.\d+)?)\s*\)?)?"
_FORM = re.compile(rf"(?:1|(?P<power>{_POWER})?\s*\*?\s*(?P<log>log\s*\(?\s*n\s*\)?)?)")
_MOST = 6.0  # no power above this is fitted or accepted


@dataclass(frozen=True, order=True)
class Growth:
    """n^power (log n)^logs; ordered from slow to fast."""

    power: float
    logs: int = 0

    def __str__(self) -> str:
        power = "" if self.power == 0 else "n" if self.power == 1 else f"n^{self.power:g}"
        log = "log n" if self.logs == 1 else f"log^{self.logs} n" if self.logs else ""
        return " ".join(part for part in (power, log) if part) or "1"

    def at(self, n: npt.ArrayLike) -> Floats:
        """Values at sizes n >= 1."""
        sizes = np.asarray(n, float)
        return sizes**self.power * np.log(np.maximum(sizes, 1.0)) ** self.logs

    def exponent_at(self, n: float) -> float:
        """The slope d log y / d log n at a size."""
        return float(self.power + self.logs / np.log(max(n, 2.0)))

    @property
    def allowed(self) -> Growth:
        """The band of tolerance round a declared class: one logarithm more."""
        return Growth(self.power, max(self.logs, 1))


CONSTANT, LOG, LINEAR = Growth(0), Growth(0, 1), Growth(1)
COMMON = (CONSTANT, LOG, LINEAR, Growth(1, 1), Growth(1.5), Growth(2), Growth(3))
RARE = (Growth(0.5), Growth(2, 1), Growth(2.5), Growth(3, 1), Growth(4))  # named where no common one fits
CANDIDATES = tuple(sorted(COMMON + RARE))


def parse_growth(text: str) -> Growth:
    """`n log n`, `n^1.5`, `n**2`, `O(n)`, `1`, `sqrt n`, `linear`, ... to a class.

    Raises
    ------
    InputError : no such class
    """
    form = text.strip().lower()
    if form.startswith("o(") and form.endswith(")"):
        form = form[2:-1].strip()
    form = _WORDS.get(form, form)
    form = re.sub(r"sqrt\s*\(?\s*n\s*\)?", "n^0.5", form).replace("n²", "n^2").replace("n³", "n^3")
    found = _FORM.fullmatch(form)
    if not form or found is None:
        raise InputError("the declared cost", f"'{text}' is no class of growth", "give it as n, n log n, n^1.5 or n^2")
    power = 0.0 if not found["power"] else float(found[2] or 1)
    if power > _MOST:
        raise InputError("the declared cost", f"'{text}' grows faster than n^{_MOST:g}", "declare a smaller power")
    return Growth(power, 1 if found["log"] else 0)
