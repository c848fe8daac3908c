"""Units as NeXus headers write them."""

from __future__ import annotations

import math
from pathlib import Path

from hdrmx.errors import InputError

# Names by kind and size; sizes count in pm, rad, ns, eV and 1/s. Long names are known in any case of letters, and with
# an s behind; short ones as they stand (mm isn't Mm).
_SHORT: dict[str, dict[str, float]] = {
    "length": {
        **{"m": 1e12, "cm": 1e10, "mm": 1e9, "um": 1e6, "nm": 1e3, "pm": 1.0, "A": 100.0},
        **{"\u00b5m": 1e6, "\u03bcm": 1e6, "\u00c5": 100.0, "\u212b": 100.0},  # both signs of micro and of angstrom
    },
    "angle": {
        **{"rad": 1.0, "mrad": 1e-3, "urad": 1e-6, "\u00b5rad": 1e-6, "\u03bcrad": 1e-6},
        **{"deg": math.pi / 180, "\u00b0": math.pi / 180, "mdeg": math.pi / 180e3},
    },
    "time": {
        **{"s": 1e9, "sec": 1e9, "ms": 1e6, "us": 1e3, "\u00b5s": 1e3, "\u03bcs": 1e3, "ns": 1.0},
        **{"min": 60e9, "h": 3600e9},
    },
    "energy": {"eV": 1.0, "keV": 1e3, "MeV": 1e6, "ev": 1.0, "kev": 1e3},
    "rate": {
        **{"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9, "1/s": 1.0, "/s": 1.0, "s-1": 1.0, "s^-1": 1.0, "s**-1": 1.0},
        **{"ph/s": 1.0, "photons/s": 1.0, "photon/s": 1.0},
    },
}
_LONG: dict[str, dict[str, float]] = {
    "length": {
        **{"meter": 1e12, "metre": 1e12, "centimeter": 1e10, "centimetre": 1e10, "millimeter": 1e9, "millimetre": 1e9},
        **{"micrometer": 1e6, "micrometre": 1e6, "micron": 1e6, "nanometer": 1e3, "nanometre": 1e3},
        **{"picometer": 1.0, "picometre": 1.0, "angstrom": 100.0, "\u00e5ngstr\u00f6m": 100.0},
    },
    "angle": {"radian": 1.0, "milliradian": 1e-3, "microradian": 1e-6, "degree": math.pi / 180, "deg": math.pi / 180},
    "time": {
        **{"second": 1e9, "millisecond": 1e6, "microsecond": 1e3, "nanosecond": 1.0},
        **{"minute": 60e9, "hour": 3600e9},
    },
    "energy": {"electronvolt": 1.0, "electron_volt": 1.0, "kiloelectronvolt": 1e3, "megaelectronvolt": 1e6},
    "rate": {"hertz": 1.0, "kilohertz": 1e3, "megahertz": 1e6, "gigahertz": 1e9},
}
_SYMBOLS = {name: (kind, size) for kind, names in _SHORT.items() for name, size in names.items()}
_WORDS = {
    name + end: (kind, size) for kind, names in _LONG.items() for name, size in names.items() for end in ("", "s")
}


def factor(stated: str, wanted: str, name: str, path: str | Path) -> float:
    """What a value in the unit `stated` is multiplied by to be in `wanted`.

    Parameters
    ----------
    stated : as the header has it; '' when it has none
    wanted : 'mm', 'deg', 's', 'eV', 'Hz', ...
    name, path : data set and file, for the message

    Raises
    ------
    InputError : no unit, one that isn't known, or of another kind
    """
    kind, size = _SYMBOLS[wanted]
    if not stated:
        raise InputError(path, f"{name} has no units", f"it takes the attribute units, as '{wanted}'")
    known = _SYMBOLS.get(stated) or _WORDS.get(stated.lower())
    if known is None:
        raise InputError(path, f"{name} has the unit '{stated}', which is not known", f"give its {kind} in '{wanted}'")
    if known[0] != kind:
        what = f"{name} has the unit '{stated}', which is of {known[0]} and not of {kind}"
        raise InputError(path, what, f"give it in '{wanted}'")
    return known[1] / size
