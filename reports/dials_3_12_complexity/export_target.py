"""dials.export of many sweeps as a function of the number of batches; run by the interpreter that has DIALS.

    HDRMX_TEST_DATA=... hdrmx complexity reports/dials_3_12_complexity/export_target.py:export --driver batches
        --sizes 144,216,324,504,756,1080,1512,2160 --python /usr/bin/python3 --measure instructions --budget 30m

The quartz sweep of DIALS's own test data (scaled.expt, scaled.refl) is repeated as sweeps of 36 images with the same
5,000 reflections dealt out to them, so that only the number of batches grows. What is measured is `export_mtz`, which
`dials.export` calls; start-up and the making of the input are not in it.
"""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

from without_scipy import leave_out_scipy

leave_out_scipy()

from dials.array_family import flex  # noqa: E402
from dials.util.export_mtz import export_mtz  # noqa: E402
from dxtbx.model import ExperimentList  # noqa: E402
from dxtbx.model.experiment_list import ExperimentListFactory  # noqa: E402

IMAGES = 36
REFLECTIONS = 5000
DATA = Path(os.environ["HDRMX_TEST_DATA"]) / "ref_quartz_processed"


def setup_export(n_batches: int) -> tuple[Any, Any, str]:
    """Table, experiments and the file to write."""
    one = ExperimentListFactory.from_json_file(str(DATA / "scaled.expt"), check_format=False)[0]
    table = flex.reflection_table.from_file(str(DATA / "scaled.refl"))
    table = table.select(table.get_flags(table.flags.scaled))
    rows = flex.size_t([i % len(table) for i in range(REFLECTIONS)])
    table = table.select(rows)
    n_sweeps = max(n_batches // IMAGES, 1)
    experiments = ExperimentList()
    for i in range(n_sweeps):
        sweep = copy.copy(one)
        sweep.scan = copy.deepcopy(one.scan)
        sweep.scan = sweep.scan[:IMAGES]
        sweep.identifier = f"sweep-{i}"
        crystal = copy.deepcopy(one.crystal)
        crystal.reset_scan_points()
        sweep.crystal = crystal
        experiments.append(sweep)
    for key in list(table.experiment_identifiers().keys()):
        del table.experiment_identifiers()[key]
    table["id"] = flex.int([i % n_sweeps for i in range(len(table))])
    for i in range(n_sweeps):
        table.experiment_identifiers()[i] = f"sweep-{i}"
    x, y, z = table["xyzcal.px"].parts()
    z = flex.double([v % IMAGES for v in z])
    table["xyzcal.px"] = flex.vec3_double(x, y, z)
    x, y, z = table["xyzobs.px.value"].parts()
    z = flex.double([v % IMAGES for v in z])
    table["xyzobs.px.value"] = flex.vec3_double(x, y, z)
    return table, experiments, str(Path(tempfile.gettempdir()) / f"export-{os.getpid()}.mtz")


def export(made: tuple[Any, Any, str]) -> None:
    table, experiments, path = made
    export_mtz(table, experiments, intensity_choice=["scale"], filename=path)
    os.unlink(path)
