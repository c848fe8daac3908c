"""Which data a program of others reads, as our own readers see them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hdrmx.errors import HdrmxError
from hdrmx.record import DataSet


def identity_of(data: str, images: range | None = None) -> DataSet:
    """The same identity as a run of our own has; of data that we can't read, the name alone."""
    from hdrmx.io.identity import identify
    from hdrmx.io.open import open_source

    with contextlib.suppress(HdrmxError, OSError), contextlib.closing(open_source(data, images)) as source:
        return identify(source)
    path = Path(data)
    return DataSet(name=str(data), file_bytes=path.stat().st_size if path.is_file() else None)
