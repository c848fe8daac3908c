"""Runs DIALS's symmetry analysis on simulated sets (`tests/symmetry/calibration_sets.py`) and keeps what it found.

    .venv/bin/python tests/reference/make_symmetry_reference.py write FOLDER
    /usr/bin/python3 tests/reference/make_symmetry_reference.py dials FOLDER tests/reference/dials/symmetry.json

The second one needs DIALS's Python. Observations go in as profile-fitted intensities of one scan, on a reduced
primitive cell without symmetry, as after integration; what runs is `symmetry()` of `dials.symmetry`, with its defaults,
Laue groups and absences, without its HTML page.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path


def write(folder: Path) -> None:
    import numpy as np

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "symmetry"))
    from calibration_sets import trials, true_rotations

    folder.mkdir(parents=True, exist_ok=True)
    for number, trial in enumerate(trials()):
        case = trial.case()
        table = case.table
        np.savez_compressed(
            folder / f"{number:03d}.npz",
            hkl=table[["h", "k", "l"]].to_numpy(),
            intensity=table["intensity"],
            sigma=table["sigma"],
            frame=table["frame"],
            A=np.array(case.crystal.A),
            n_frames=case.scan.n_frames,
            width_deg=np.degrees(case.scan.width_rad),
            rotations=np.array(sorted(true_rotations(case, trial.name))),
            name=trial.name,
        )


def dials(folder: Path, out: Path) -> None:
    found = []
    for path in sorted(folder.glob("*.npz")):
        found.append(_analysed(path))
        print(path.name, found[-1], flush=True)
    out.write_text(json.dumps({"program": _version(), "sets": found}, indent=0).replace("\n", " ") + "\n")


def _version() -> str:
    from dials.util.version import dials_version

    return str(dials_version())


def _analysed(path: Path) -> dict[str, object]:
    import numpy as np
    from dials.algorithms.symmetry.laue_group import LaueGroupAnalysis
    from dials.array_family import flex
    from dials.command_line import symmetry as program
    from dxtbx.model import ExperimentList

    params = program.phil_scope.extract()
    params.output.json = params.output.html = params.output.reflections = None
    params.output.experiments, params.exclude_images = str(path.with_suffix(".expt")), []
    flex.set_random_seed(params.seed)
    random.seed(params.seed)
    np.random.seed(params.seed)  # noqa: NPY002
    data = np.load(path)
    kept = []

    class Listening(LaueGroupAnalysis):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            kept.append(self)

    original, program.LaueGroupAnalysis = program.LaueGroupAnalysis, Listening
    to_minimum = program.change_of_basis_ops_to_minimum_cell
    operators = []

    def listening(*args):
        operators.extend(to_minimum(*args))
        return operators

    program.change_of_basis_ops_to_minimum_cell = listening
    experiments, table = _experiments(data), _table(data)
    start = time.process_time()
    try:
        program.symmetry(experiments, [table], params)
    except Exception as error:  # whatever it is, the set was not told
        return {"right": False, "error": repr(error)[:200], "cpu_s": round(time.process_time() - start, 2)}
    finally:
        program.LaueGroupAnalysis, program.change_of_basis_ops_to_minimum_cell = original, to_minimum
    written = ExperimentList.from_file(params.output.experiments, check_format=False)
    best = kept[0].best_solution
    back = (best.subgroup["cb_op_inp_best"] * operators[0]).inverse()
    group = best.subgroup["best_subsym"].space_group().change_basis(back)
    turns = {tuple(round(x) for x in op.r().as_double()) for op in group.all_ops() if op.r().determinant() > 0}
    return {
        "name": str(data["name"]),
        "right": turns == {tuple(int(x) for x in w) for w in data["rotations"]},
        "space_group": str(written[0].crystal.get_space_group().info()),
        "likelihood": round(best.likelihood, 4),
        "confidence": round(best.confidence, 4),
        "cpu_s": round(time.process_time() - start, 2),
    }


def _experiments(data):
    from cctbx import sgtbx
    from dxtbx.model import Beam, Crystal, Detector, Experiment, ExperimentList, Panel, Scan
    from dxtbx.model.goniometer import GoniometerFactory
    from scitbx import matrix

    panel = Panel()
    panel.set_frame((1, 0, 0), (0, -1, 0), (-200.0, 200.0, -200.0))
    panel.set_image_size((4000, 4000))
    panel.set_pixel_size((0.1, 0.1))
    detector = Detector()
    detector.add_panel(panel)
    n, width = int(data["n_frames"]), float(data["width_deg"])
    scan = Scan((1, n), (0.0, width))
    a = matrix.sqr(data["A"].ravel().tolist()).inverse().elems
    crystal = Crystal(a[0:3], a[3:6], a[6:9], sgtbx.space_group("P 1"))
    gonio = GoniometerFactory.known_axis((0, 0, 1))
    experiment = Experiment(beam=Beam((1, 0, 0), 1.0), detector=detector, goniometer=gonio, scan=scan, crystal=crystal)
    experiment.identifier = "0"
    return ExperimentList([experiment])


def _table(data):
    import numpy as np
    from dials.array_family import flex

    n = len(data["hkl"])
    table = flex.reflection_table()
    table["miller_index"] = flex.miller_index([tuple(h) for h in data["hkl"].tolist()])
    for kind in ("prf", "sum"):
        table[f"intensity.{kind}.value"] = flex.double(np.ascontiguousarray(data["intensity"], float))
        table[f"intensity.{kind}.variance"] = flex.double(np.ascontiguousarray(data["sigma"], float) ** 2)
    ones = flex.double(n, 1.0)
    table["lp"], table["qe"], table["partiality"] = ones, ones, ones
    table["d"] = flex.double(1.0 / np.linalg.norm(data["hkl"] @ data["A"].T, axis=1))
    z = np.ascontiguousarray(data["frame"], float)
    table["xyzobs.px.value"] = flex.vec3_double(flex.double(n, 0.0), flex.double(n, 0.0), flex.double(z))
    table["xyzcal.px"] = table["xyzobs.px.value"]
    table["s1"] = flex.vec3_double(n, (1.0, 0.0, 0.0))
    table["id"] = flex.int(n, 0)
    table["imageset_id"] = flex.int(n, 0)
    table.experiment_identifiers()[0] = "0"
    table["flags"] = flex.size_t(n, 0)
    table.set_flags(flex.bool(n, True), table.flags.integrated_sum)
    table.set_flags(flex.bool(n, True), table.flags.integrated_prf)
    return table


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        dials(Path(sys.argv[2]), Path(sys.argv[3]))
