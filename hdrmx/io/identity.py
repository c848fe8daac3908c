"""Which data a run read, so that two runs can be told to have read the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hdrmx.errors import BadFrame
from hdrmx.frames import FrameSource
from hdrmx.record import DataSet

PAYLOADS = 3


def identify(source: FrameSource) -> DataSet:
    """Name, extent and digest of the frames that a source delivers.

    The digest is over shape, type, frames chosen, wavelength, scan angles and the stored bytes of the first
    `PAYLOADS` frames. It doesn't hang on the path, nor on the version of hdrmx. A frame that can't be had is
    part of the identity as such.
    """
    hasher = hashlib.sha256()
    scan = source.geometry.scan
    angles = None if scan is None else (scan.first, scan.n_frames, scan.start_rad, scan.width_rad)
    facts = (source.shape, source.dtype.name, source.indices, source.geometry.beam.wavelength_A, angles)
    hasher.update(repr(facts).encode())
    n_frames = 0
    for frame in source.frames():
        n_frames += 1
        if n_frames > PAYLOADS:
            continue
        try:
            hasher.update(frame.load().tobytes())
        except BadFrame:
            hasher.update(b"unreadable")
    path, indices = Path(source.name), source.indices
    return DataSet(
        name=source.name,
        identity=hasher.hexdigest()[:16],
        file_bytes=path.stat().st_size if path.is_file() else None,
        n_frames=n_frames,  # not len(indices): a set of stills may have gaps
        first_frame=indices[0] if len(indices) else None,
        shape=source.shape,
        dtype=source.dtype.name,
    )
