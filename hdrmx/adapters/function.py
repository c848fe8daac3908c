"""Any Python function, measured and sampled in this process."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from hdrmx.adapters.recording import Recording
from hdrmx.errors import HdrmxError, InputError, NotMeasured
from hdrmx.measure.recorder import Recorder
from hdrmx.measure.stopping import terminate_as_interrupt
from hdrmx.record import SETUP, Record

OPTION = "--function"


def profile_function(target: str, folder: Path, *, setup: str | None = None, sampling: bool = True) -> Record:
    """Import a module, call one of its functions, and write the record into a folder.

    Parameters
    ----------
    target : `file.py:function` or `module:function` (`module:Class.method` for static and class methods)
    setup : a function of the same module that is called first and not counted in the other's time. A tuple that it
        returns gives the arguments, a dict the keyword arguments, None none, anything else the one argument

    Raises
    ------
    InputError : there is no such file, module or function, or it wants arguments and there is no `setup`
    NotMeasured : the function raised, which is in the record too; its traceback goes to standard error
    KeyboardInterrupt : after the record was written
    """
    where, colon, name = target.rpartition(":")
    if not (where and colon and name):
        raise InputError(OPTION, f"is '{target}'", "give it as file.py:function or module:function")
    run: Recording | None = None
    try:
        with terminate_as_interrupt():
            run = Recording(folder, "function", sampling=False, params={"function": target, "setup": setup}, data="")
            with run.recorder("import", SETUP):
                module = _module(where)
                function = _attribute(module, name, where)
                prepare = _attribute(module, setup, where) if setup else None
            args, kwargs = _arguments(run.recorder, prepare)
            _check(function, name, args, kwargs)
            if sampling:
                run.sample()
            with run.recorder(name):
                function(*args, **kwargs)
            return run.finish()
    except HdrmxError:
        raise
    except SystemExit as end:
        if run is not None and end.code in (None, 0):
            return run.finish()
        raise _failure(run, target, end) from None
    except KeyboardInterrupt as stopped:
        if run is not None:
            run.finish(stopped)
            stopped.add_note(f"what was measured until then: hdrmx profile --show {folder}")
        raise
    except BaseException as error:
        raise _failure(run, target, error) from None
    finally:
        if run is not None:
            run.abandon()


def _failure(run: Recording | None, target: str, error: BaseException) -> NotMeasured:
    steps = [step for step in traceback.extract_tb(error.__traceback__) if step.filename != __file__]
    if steps:
        print("Traceback (most recent call last):", *traceback.format_list(steps), sep="\n", end="", file=sys.stderr)
    failure = NotMeasured(f"{target} raised {type(error).__name__}: {error}")
    if run is not None:
        run.finish(error)
        failure.add_note(f"what was measured until then: hdrmx profile --show {run.folder}")
    return failure


def _module(where: str) -> ModuleType:
    path = Path(where)
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise InputError(path, "no such file", "check the path")
        sys.path.insert(0, str(path.absolute().parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise InputError(path, "is no Python file", "give it as file.py:function")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # pickle and dataclasses look there
        spec.loader.exec_module(module)
        return module
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name and (where == error.name or where.startswith(f"{error.name}.")):
            raise InputError(OPTION, f"there is no module {where}", "is it installed, or below this folder?") from None
        raise


def _attribute(module: ModuleType, name: str, where: str) -> Callable[..., Any]:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
        there = [f.__name__ for f in own if inspect.isfunction(f) and not f.__name__.startswith("_")]
        raise InputError(OPTION, f"{where} has no function {name}", f"it has {', '.join(there[:8]) or 'none'}")
    return found


def _arguments(recorder: Recorder, prepare: Callable[..., Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if prepare is None:
        return (), {}
    with recorder("setup", SETUP):
        given = prepare()
    if given is None:
        return (), {}
    if isinstance(given, dict):
        return (), given
    return (given if isinstance(given, tuple) else (given,)), {}


def _check(function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not every built-in function tells
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        remedy = "give --setup with a function of the same module that returns the arguments"
        raise InputError(OPTION, f"{name}{signature} can't be called so ({error})", remedy) from None
