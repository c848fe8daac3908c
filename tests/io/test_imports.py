"""What is imported on the way to the first frame: a library that few need must not make all wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nxmx_fixture import counts, write_nxmx

HEAVY = (
    *("nxmx", "pint", "hdf5plugin", "fabio", "gemmi", "bokeh", "matplotlib", "pyinstrument", "rich", "psutil"),
    *(
        "scipy.linalg",
        "scipy.ndimage",
        "scipy.optimize",
        "scipy.sparse",
        "scipy.spatial",
        "scipy.special",
        "scipy.stats",
    ),
    *("hdrmx.stages.index", "hdrmx.stages.refine", "hdrmx.simulate", "hdrmx.measure", "hdrmx.report", "hdrmx.io.cbf"),
)
PROGRAM = """
import sys
import hdrmx.io.open, hdrmx.pipeline
source = hdrmx.io.open.open_source(sys.argv[1])
next(source.frames()).load()
source.close()
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


def imported(path: Path, *names: str) -> list[str]:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), *names], capture_output=True, text=True, check=True
    )
    return found.stdout.split()


def test_opening_a_small_file_imports_nothing_heavy(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "made.nxs", counts((3, 40, 52)))
    assert imported(path, *HEAVY, "numba", "h5py", "pandas") == ["h5py", "pandas"]
