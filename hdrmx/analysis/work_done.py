"""What a stage moved and computed at the least, from its counters: the two axes of a roofline.

Bytes are those that must pass between a core and memory if each datum does so once; what is read again from a cache
doesn't count. Operations are those of the algorithm as it is written, on 32-bit integers for frames. Both are lower
bounds: a stage far from the roof either does more than it must, or does it slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

from hdrmx.record import Counted, Span

PAGE_BYTES = 4096
FRAME_STAGES = ("find_spots", "integrate")
PIXEL_BYTES = {"uint8": 1, "uint16": 2, "uint32": 4, "int32": 4}
# Of a 7 x 7 dispersion test by column sums: limits (2), square (1), both sums of a column carried on (4), both sums of
# seven columns carried on (4), screen (3); see docs/spot_finding.md.
OPERATIONS_PER_PIXEL = {"find_spots": 14}
OPERATIONS_PER_WINDOW = {"find_spots": 2 * 49}


@dataclass(frozen=True)
class Work:
    """Of one stage; None where the counters don't tell.

    `frame_bytes` are those of `bytes_moved` that hang on the frames; `counted` tells that the operations are
    instructions that were counted, and not the algorithm's own.
    """

    bytes_moved: int | None = None
    frame_bytes: int = 0
    operations: int | None = None
    counted: bool = False


def work_of(stage: Span, dtype: str | None, counted: Counted | None = None) -> Work:
    """Lower bounds for a stage.

    Parameters
    ----------
    dtype : of the frames
    counted : exact costs of the same pipeline; used in proportion to the frames where those differ
    """
    frames = _frame_bytes(stage, dtype)
    parts = [frames or None, stage.cost.read_bytes, stage.cost.write_bytes]
    if frames and stage.count("bytes_in") and stage.cost.read_bytes:
        parts[1] = max(stage.cost.read_bytes - (stage.count("bytes_in") or 0), 0)  # those are among the frames'
    if stage.cost.minor_faults is not None:
        parts.append(stage.cost.minor_faults * PAGE_BYTES)  # fresh memory is written once, at least
    known = [part for part in parts if part is not None]
    operations, exact = _operations(stage), False
    instructions = _instructions(stage, counted)
    if instructions is not None:
        operations, exact = instructions, True
    return Work(sum(known) if known else None, frames, operations, exact)


def _frame_bytes(stage: Span, dtype: str | None) -> int:
    """Compressed bytes in; frames laid out are written once and read once; events take eight bytes each way."""
    pixels, frames = stage.count("pixels"), stage.count("frames")
    if stage.name not in FRAME_STAGES or not pixels or not frames:
        return 0
    dense = stage.count("dense_frames")
    laid_out = pixels * (dense if dense is not None else frames) // frames
    return (
        (stage.count("bytes_in") or 0)
        + 2 * laid_out * PIXEL_BYTES.get(dtype or "", 2)
        + 16 * (stage.count("events") or 0)
    )


def _operations(stage: Span) -> int | None:
    pixels, frames, dense = stage.count("pixels"), stage.count("frames"), stage.count("dense_frames")
    each = OPERATIONS_PER_PIXEL.get(stage.name)
    if not pixels or not frames or each is None:
        return None
    laid_out = pixels * (dense if dense is not None else frames) // frames
    return each * laid_out + OPERATIONS_PER_WINDOW[stage.name] * (stage.count("windows") or 0)


def _instructions(stage: Span, counted: Counted | None) -> int | None:
    if counted is None or stage.name not in counted.instructions:
        return None
    n, frames = counted.instructions[stage.name], stage.count("frames")
    if frames and counted.frames and frames != counted.frames:
        return round(n * frames / counted.frames)
    return n
