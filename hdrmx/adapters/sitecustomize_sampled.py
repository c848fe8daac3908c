"""Put on a program's PYTHONPATH as `sitecustomize`: samples it with pyinstrument and writes folded stacks at its end.

It needs nothing but pyinstrument, and goes on to the `sitecustomize` that it stands in front of.
"""

import atexit
import importlib.machinery
import importlib.util
import os
import sys


def _begin() -> None:
    target = os.environ.get("HDRMX_SAMPLES")
    if not target:
        return
    try:
        from pyinstrument import Profiler
    except Exception as error:  # the program must run all the same
        sys.stderr.write(f"pyinstrument can't be used here: {error}\n")
        return
    profiler = Profiler(interval=0.01, async_mode="disabled")
    profiler.start()

    def write() -> None:
        try:
            session = profiler.stop()
            weights: dict[tuple[str, ...], float] = {}
            for stack, seconds in session.frame_records:
                calls = tuple(_text(identifier) for identifier in stack)
                weights[calls] = weights.get(calls, 0.0) + seconds
            with open(f"{target}.{os.getpid()}", "w") as file:
                for calls, seconds in weights.items():
                    file.write(f"{';'.join(calls)} {round(seconds * 1e6)}\n")
        except Exception as error:
            sys.stderr.write(f"the samples could not be written: {error}\n")

    atexit.register(write)


def _text(identifier: str) -> str:
    name, path, line = [*identifier.split("\x01")[0].split("\x00"), "", ""][:3]
    return f"{name} ({path}:{line})".replace(";", ",").replace("\n", " ") if line else name.replace(";", ",")


def _go_on() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_begin()
_go_on()
