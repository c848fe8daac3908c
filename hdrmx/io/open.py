"""Opens whatever the user names as a source of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hdrmx.errors import InputError
from hdrmx.frames import FrameSource

HDF5_SUFFIXES = (".nxs", ".h5", ".hdf5", ".nexus", ".hdf")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def open_source(data: str | Path, images: range | None = None) -> FrameSource:
    """Open DATA: an NXmx or Eiger HDF5 file, or CBF as a file, template (`x_####.cbf`), glob or directory.

    Raises InputError naming the file when there is nothing there that can be read.
    """
    path = Path(data)
    is_file = path.exists() and not path.is_dir()
    if not is_file and path.suffix.lower() in HDF5_SUFFIXES:
        raise InputError(path, "no such file", "check the path")
    if is_file and (path.suffix.lower() in HDF5_SUFFIXES or _begins_with(path, _HDF5_MAGIC)):
        from hdrmx.io.nexus import open_nexus  # each kind of file needs other libraries

        return open_nexus(path, images)
    from hdrmx.io.cbf import open_cbf

    return open_cbf(path if is_file else data, images)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "check its permissions") from None


def read_mask(path: str | Path, shape: tuple[int, int]) -> np.ndarray:
    """A mask file as (slow, fast) bool, True where a pixel may be used.

    Parameters
    ----------
    path : `.npy` (an array) or `.h5` (the first two-dimensional data set), nonzero or True = use
    shape : of the frames, (slow, fast)
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            array = _first_image(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, f"no mask can be read from it ({error})", "give a .npy or .h5 file") from None
    if array.shape != shape:
        raise InputError(
            path, f"the mask is {array.shape}, the frames are {shape}", "make it (slow, fast) of the frames"
        )
    return array.astype(bool)


def _first_image(path: Path) -> np.ndarray:
    import h5py

    found: list[h5py.Dataset] = []
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) and item.ndim == 2 else None
        )
        if not found:
            raise ValueError("it has no two-dimensional data set")
        return found[0][()]
