"""What the stages after refinement stored in a folder of results, read for its page."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class IntegrationResult:
    """Files `io.stage_files.INTEGRATED_FILES`; `picture` is empty where none was stored."""

    frames: pd.DataFrame
    blocks: pd.DataFrame
    shells: pd.DataFrame
    profiles: Arrays
    picture: Arrays
    told: dict[str, Any]


@dataclass(frozen=True)
class ScalingResult:
    """Files `io.stage_files.SCALED_FILES`."""

    frames: pd.DataFrame
    outliers: pd.DataFrame
    told: dict[str, Any]


@dataclass(frozen=True)
class MergingResult:
    """Files `io.stage_files.MERGED_FILES`."""

    shells: pd.DataFrame
    sums: pd.DataFrame
    frames: pd.DataFrame
    told: dict[str, Any]


@dataclass(frozen=True)
class Later:
    """Stages after refinement; None where one was not reached."""

    integration: IntegrationResult | None = None
    symmetry: dict[str, Any] | None = None
    scaling: ScalingResult | None = None
    merging: MergingResult | None = None


def read_later(folder: Path, stages: list[str]) -> Later:
    """Read the files of the stages that `summary.json` tells of. Raises InputError when one is absent or damaged."""
    integration = symmetry = scaling = merging = None
    if "integrate" in stages:
        integration = IntegrationResult(
            frames=read_csv(folder / "integrated_frames.csv"),
            blocks=read_csv(folder / "integrated_blocks.csv"),
            shells=read_csv(folder / "integrated_shells.csv"),
            profiles=_read_npz(folder / "integrated_profiles.npz"),
            picture=_picture(folder / "integrated_picture.npz"),
            told=read_json(folder / "integrated.json"),
        )
    if "symmetry" in stages and (folder / "symmetry.json").exists():  # nothing was looked for in every run
        symmetry = read_json(folder / "symmetry.json")
    if "scale" in stages:
        scaling = ScalingResult(
            frames=read_csv(folder / "scaled_frames.csv"),
            outliers=read_csv(folder / "scaled_outliers.csv"),
            told=read_json(folder / "scaled_model.json"),
        )
    if "merge" in stages:
        merging = MergingResult(
            shells=read_csv(folder / "merged_shells.csv"),
            sums=read_csv(folder / "merged_sums.csv"),
            frames=read_csv(folder / "merged_frames.csv"),
            told=read_json(folder / "merged.json"),
        )
    return Later(integration, symmetry, scaling, merging)


def read_csv(path: Path) -> pd.DataFrame:
    return pd.DataFrame(read(path, pd.read_csv))


def read_json(path: Path) -> dict[str, Any]:
    """A document. Raises InputError unless it is an object."""
    told = read(path, lambda p: json.loads(p.read_text(encoding="utf-8")))
    if not isinstance(told, dict):
        raise InputError(path, "is damaged (no object)", "run `hdrmx process` again")
    return told


def _picture(path: Path) -> Arrays:
    return _read_npz(path) if path.exists() else {}


def _read_npz(path: Path) -> Arrays:
    def load(path: Path) -> Arrays:
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, EOFError) as error:
            raise ValueError(str(error)) from None

    return dict(read(path, load))


def read(path: Path, how: Callable[[Path], Any]) -> Any:
    """What `how` makes of a file; InputError where it can't be read or isn't what it should be."""
    try:
        return how(path)
    except OSError as error:
        remedy = "give the folder that `hdrmx process` wrote"
        raise InputError(path, error.strerror or "can't be read", remedy) from None
    except ValueError as error:  # of JSON, CSV and UTF-8 alike
        raise InputError(path, f"is damaged ({error})", "run `hdrmx process` again") from None
