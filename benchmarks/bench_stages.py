"""Every stage after spot finding, on what the stages before it left; counters and answers of the whole pipeline."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.datasets import axis, dataset
from hdrmx.io.open import open_source
from hdrmx.io.whole import write_whole
from hdrmx.measure.recorder import Recorder
from hdrmx.params import Params
from hdrmx.pipeline import STAGES, Results, process
from hdrmx.record import Span

FRAMES = axis([90, 180, 360, 720])
COUNTERS = (
    "find_spots:decodes",
    "find_spots:windows",
    "find_spots:strong_pixels",
    "index:candidate_vectors",
    "index:cells_tried",
    "index:refinement_evaluations",
    "refine:residual_evaluations",
    "refine:reflections",
    "integrate:decodes",
    "integrate:predicted",
    "integrate:shoebox_pixels",
    "integrate:fit_iterations",
    "symmetry:observations",
    "scale:observations",
    "scale:fit_evaluations",
    "merge:used",
)
ANSWERS = (
    "find_spots:spots",
    "index:indexed",
    "integrate:integrated",
    "integrate:decodes_per_frame",
    "symmetry:probability",
    "merge:n_unique",
    "merge:completeness",
    "merge:r_meas",
    "merge:cc_half",
)


def scan() -> Path:
    """Half a turn of a lysozyme-like crystal; slices of it are the sizes."""
    return dataset("demo", frames=max(FRAMES), width_deg=0.25)


def reached(folder: Path) -> dict[tuple[str, int], str]:
    """Files with the results after each stage, by stage and number of frames."""
    paths = {}
    for n in FRAMES:

        def keep(stage: str, results: Results, n: int = n) -> None:
            path = folder / f"{stage}_{n}.pickle"
            paths[stage, n] = str(write_whole(path, pickle.dumps(results)))

        source = open_source(scan(), range(n))
        process(source, Params(), until="scale", keep=keep)
        source.close()
    return paths


class _Stage:
    """One stage on growing slices of a scan: the exponent of time is one at most, that of memory less."""

    stage = ""
    params = FRAMES
    param_names: ClassVar = ["n_frames"]
    timeout = 900

    def setup_cache(self) -> dict[tuple[str, int], str]:
        return reached(Path.cwd())  # asv's own folder for this, the same for all stages

    def setup(self, paths: dict[tuple[str, int], str], n_frames: int) -> None:
        before = STAGES[STAGES.index(self.stage) - 1]
        self.reached = before, pickle.loads(Path(paths[before, n_frames]).read_bytes())
        self.source = open_source(scan(), range(n_frames))
        self._run()

    setup_cache.timeout = 900

    def teardown(self, *_: object) -> None:
        self.source.close()

    def _run(self) -> Results:
        return process(self.source, Params(), reached=self.reached, until=self.stage)

    def time_stage(self, *_: object) -> None:
        self._run()

    def peakmem_stage(self, *_: object) -> None:
        self._run()


class Index(_Stage):
    stage = "index"


class Refine(_Stage):
    stage = "refine"


class Integrate(_Stage):
    stage = "integrate"


class Symmetry(_Stage):
    stage = "symmetry"


class Scale(_Stage):
    stage = "scale"


class Merge(_Stage):
    stage = "merge"


@cache
def watched(n_frames: int) -> dict[str, Span]:
    """Spans of a run of the pipeline, by stage."""
    source = open_source(scan(), range(n_frames))
    recorder = Recorder()
    process(source, Params(), recorder)
    source.close()
    return {span.name: span for span in recorder.finish().children}


class Counts:
    """Exact amounts of work per frame: a jump here is a change of the program, on any machine."""

    params = (axis(COUNTERS), FRAMES)
    param_names: ClassVar = ["counter", "n_frames"]
    unit = "a frame"
    timeout = 900

    def track_per_frame(self, counter: str, n_frames: int) -> float:
        stage, name = counter.split(":")
        return watched(n_frames)[stage].counts.get(name, 0) / n_frames


class Answers:
    """What came out, so that nothing gets faster by getting worse."""

    params = (axis(ANSWERS), FRAMES[-1:])
    param_names: ClassVar = ["answer", "n_frames"]
    unit = ""
    timeout = 900

    def track_answer(self, answer: str, n_frames: int) -> float:
        stage, name = answer.split(":")
        value: Any = watched(n_frames)[stage].answers[name]
        return float(value)
