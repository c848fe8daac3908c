"""Programs that stand in for DIALS's: they burn a little, and print and write what the real ones would."""

from __future__ import annotations

import stat
from pathlib import Path

STATISTICS = """
            -------------Summary of merging statistics--------------

                                             Overall    Low     High
High resolution limit                           2.00    5.42    2.00
Completeness                                    43.0    87.4     2.8
Multiplicity                                     2.7     4.1     1.0
I/sigma                                         13.1    26.4     2.3
Rmeas(I)                                       0.102   0.072  -0.932
Rpim(I)                                        0.054   0.033  -0.659
CC half                                        0.992   0.997   0.000
Total observations                             17500    3010      22
Total unique                                    6580     742      21
"""
REFINED = """
There are 34 parameters to refine against 5376 reflections in 3 dimensions

Refinement steps:
+--------+--------+----------+----------+------------+
|   Step |   Nref |   RMSD_X |   RMSD_Y |   RMSD_Phi |
|        |        |     (mm) |     (mm) |      (deg) |
|--------+--------+----------+----------+------------|
|      0 |   5376 | 0.014768 | 0.014604 |   0.040146 |
|      1 |   5376 | 0.014482 | 0.014567 |   0.039931 |
+--------+--------+----------+----------+------------+
RMSD no longer decreasing

RMSDs by experiment:
+-------+--------+----------+----------+------------+
|   Exp |   Nref |   RMSD_X |   RMSD_Y |     RMSD_Z |
|    id |        |     (px) |     (px) |   (images) |
|-------+--------+----------+----------+------------|
|     0 |   5376 |  0.19287 |  0.19363 |    0.13219 |
+-------+--------+----------+----------+------------+

    Unit cell: 54.708(3), 58.521(3), 67.634(4), 89.9896(11), 90.0127(12), 90.0044(12)
    Space group: P 1
"""
INDEXED = """
+------------+-------------+---------------+-------------+
|   Imageset |   # indexed |   # unindexed | % indexed   |
|------------+-------------+---------------+-------------|
|          0 |        6497 |            75 | 98.9%       |
+------------+-------------+---------------+-------------+
"""
INTEGRATED = """
    number of images:   320

Timing information for integration
+-------------------+---------------+
| Read time         | 19.56 seconds |
| Process time      | 10.30 seconds |
| Total time        | 56.62 seconds |
+-------------------+---------------+

Removing 441 unintegrated reflections of 18260 total
Saving 17819 reflections to integrated.refl
"""
FOUND = """
Found 316 strong pixels on image 1
Found 10 strong pixels on image 2
Saved 6572 reflections to strong.refl
"""
SCALED = """
Time taken for refinement 3.72
Time taken for refinement 2.00
Total time taken: 32.1458s
"""
LOGS = {
    "import": "  num images: 320\n",
    "slice_sequence": "",
    "find_spots": FOUND,
    "index": REFINED + INDEXED,
    "refine": REFINED,
    "integrate": INTEGRATED,
    "symmetry": "Best solution: P m m m\nLaue group probability: 0.977\nRecommended space group: P 21 21 2\n",
    "scale": "Time taken for refinement 3.72\nTime taken for refinement 2.00\nTotal time taken: 32.1458s\n"
    + STATISTICS,
    "export": "Saving 16929 integrated reflections to integrated.mtz\nNumber of batches: 320\n",
    "merge": STATISTICS + "Wilson B factor                              13.746\n",
}
PROGRAM = """#!/bin/sh
echo "$0 $*" >> calls.txt
cat > dials.{name}.log <<'END'
DIALS (2018) Acta Cryst. D74, 85-97. https://doi.org/10.1107/S2059798317017235
DIALS 3.12
{log}
END
{rest}
"""


def install(folder: Path, **ends: str) -> Path:
    """Write all programs into a folder; `ends`: more shell lines for some, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, log in LOGS.items():
        path = folder / f"dials.{name}"
        path.write_text(PROGRAM.format(name=name, log=log, rest=ends.get(name, "")))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder
