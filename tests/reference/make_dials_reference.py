"""Runs DIALS's spot finder and keeps what it found: strong pixels of every frame, and spots.

    /usr/bin/python3 tests/reference/make_dials_reference.py DATA_FOLDER tests/reference/dials [SET ...]

Needs DIALS's Python. DATA_FOLDER is the folder that `HDRMX_TEST_DATA` names. One `.npz` a set, and `sets.json` with the
version and settings. `tests/dials_reference.py` reads them.

`dials.find_spots` itself runs, with one process; the strong pixels are taken from it as they pass by.
"""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import sys
import tempfile

import numpy as np

# name: (files, parameters of dials.find_spots, import each file by itself)
SETS = {
    "cinchonine": (
        "cinchonine_3ded/nxmx_A_001_200/cinchonine_master.h5",
        ["d_min=0.8", "d_max=15", "min_spot_size=3"],
        False,
    ),
    "thaumatin": ("thaumatin_grid_pilatus6m/*.cbf.bz2", [], True),
    "thaumatin_dispersion": ("thaumatin_grid_pilatus6m/*.cbf.bz2", ["threshold.algorithm=dispersion"], True),
    "lcysteine": ("lcysteine_pilatus2m/l-cyst_01_*.cbf.bz2", [], False),
    "sim_dense": ("sim_dense_P212121/dense_P212121_master.h5", [], False),
    "sim_sparse": ("sim_sparse_I222/sparse_I222_master.h5", [], False),
}


def strong_and_spots(files, settings):
    """Frames, flat indices of the strong pixels of each, and DIALS's spot table of one import."""
    from dials.algorithms.spot_finding import finder
    from dials.array_family import flex
    from dials.command_line.find_spots import phil_scope
    from dxtbx.model.experiment_list import ExperimentListFactory
    from libtbx.phil import parse

    experiments = ExperimentListFactory.from_filenames(files)
    seen = {}
    original = finder.ExtractPixelsFromImage.__call__

    def listening(self, index):
        pixel_lists = original(self, index)
        (pixels,) = pixel_lists
        seen[int(pixels.frame())] = np.sort(np.array(pixels.index(), dtype=np.int64))
        return pixel_lists

    finder.ExtractPixelsFromImage.__call__ = listening
    texts = [f"spotfinder.{s}" if s.startswith("threshold") else f"spotfinder.filter.{s}" for s in settings]
    sources = [parse(text) for text in [*texts, "spotfinder.mp.nproc=1"]]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            params = phil_scope.fetch(sources=sources).extract()
            spots = flex.reflection_table.from_observations(experiments, params)
    finally:
        finder.ExtractPixelsFromImage.__call__ = original
    return seen, spots


def count_strong(spots):
    """Pixels of each spot, as `dials.find_spots` counts them when it saves."""
    from dials.algorithms.shoebox import MaskCode

    return spots["shoebox"].count_mask_values(MaskCode.Valid | MaskCode.Foreground)


def arrays_of(runs):
    """Compact arrays of several runs. Indices of pixels are kept as steps from one to the next within a frame."""
    frames, counts, steps, columns = [], [], [], []
    for seen, spots in runs:
        for frame in sorted(seen):
            frames.append(frame)
            counts.append(len(seen[frame]))
            steps.append(np.diff(seen[frame], prepend=0))
        position = np.array(spots["xyzobs.px.value"]).reshape(-1, 3)
        variance = np.array(spots["xyzobs.px.variance"]).reshape(-1, 3)
        box = np.array(list(zip(*(part for part in spots["bbox"].parts())))).reshape(-1, 6)
        intensity, n_pixels = np.array(spots["intensity.sum.value"]), np.array(count_strong(spots))
        order = np.lexsort((position[:, 0], position[:, 1], position[:, 2]))
        columns.append([a[order] for a in (position, variance, box, intensity, n_pixels)])
    position, variance, box, intensity, n_pixels = (np.concatenate(part) for part in zip(*columns))
    return {
        "frames": np.array(frames, np.int32),
        "n_strong": np.array(counts, np.int32),
        "strong_steps": np.concatenate(steps).astype(np.uint32),
        "fast_slow_frame": position,
        "variance": variance.astype(np.float32),
        "box": box.astype(np.int16),
        "intensity": intensity.astype(np.uint32),
        "n_pixels": n_pixels.astype(np.int16),
    }


def main(data, out, names):
    import dials.util.version

    path = os.path.join(out, "sets.json")
    sets = {}
    if os.path.exists(path):
        with open(path) as file:
            sets = json.load(file)
    for name in names or SETS:
        pattern, settings, one_by_one = SETS[name]
        files = sorted(glob.glob(os.path.join(data, pattern)))
        if not files:
            sys.exit(f"no file matches {os.path.join(data, pattern)}")
        with tempfile.TemporaryDirectory() as folder:
            here = os.getcwd()
            os.chdir(folder)  # DIALS may leave logs
            runs = (
                [strong_and_spots([f], settings) for f in files] if one_by_one else [strong_and_spots(files, settings)]
            )
            os.chdir(here)
        arrays = arrays_of(runs)
        np.savez_compressed(os.path.join(out, f"{name}.npz"), **arrays)
        sets[name] = {
            "files": pattern,
            "command": " ".join(["dials.find_spots", *settings, "nproc=1"]),
            "one_file_at_a_time": one_by_one,
            "program": dials.util.version.dials_version(),
            "frames": len(arrays["frames"]),
            "strong_pixels": int(arrays["n_strong"].sum()),
            "spots": len(arrays["n_pixels"]),
        }
        print(name, sets[name])
        with open(path, "w") as file:
            json.dump(sets, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:])
