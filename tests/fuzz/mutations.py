"""Damage to chunks: what transmission, disks and enemies do to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytearray, np.random.Generator], None]
HEADER_BYTES = 12


def random_bytes(chunk: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 20))):
        chunk[rng.integers(len(chunk))] = rng.integers(256)


def flipped_bit(chunk: bytearray, rng: np.random.Generator) -> None:
    chunk[rng.integers(len(chunk))] ^= 1 << int(rng.integers(8))


def truncation(chunk: bytearray, rng: np.random.Generator) -> None:
    del chunk[rng.integers(len(chunk)) :]


def first_bytes(chunk: bytearray, rng: np.random.Generator) -> None:
    n = min(64, len(chunk))
    chunk[:n] = rng.bytes(n)


def after_the_header(chunk: bytearray, rng: np.random.Generator) -> None:
    n = min(64, len(chunk) - HEADER_BYTES)
    chunk[HEADER_BYTES : HEADER_BYTES + n] = rng.bytes(n)


def run_of_one_value(chunk: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(chunk)))
    n = min(int(rng.integers(1, 300)), len(chunk) - at)
    chunk[at : at + n] = bytes([int(rng.choice([255, 0, 0xF0, 0x0F, 0x10, 1]))]) * n


def block_size(chunk: bytearray, rng: np.random.Generator) -> None:
    sizes = [0, 1, 7, 8, 16, 64, 256, 4096, 8192, 16384, 2**20, 2**31 - 8, 2**31, 2**32 - 1, 2**32 - 8]
    chunk[8:12] = int(rng.choice(sizes)).to_bytes(4, "big")


def raw_size(chunk: bytearray, rng: np.random.Generator) -> None:
    true = int.from_bytes(chunk[:8], "big")
    lies = [0, 1, max(true - 1, 0), true + 1, 2 * true, 2**31, 2**32 - 1, 2**62]
    chunk[:8] = min(lies[rng.integers(len(lies))], 2**64 - 1).to_bytes(8, "big")


def length_of_a_block(chunk: bytearray, rng: np.random.Generator) -> None:
    places, at = [], HEADER_BYTES
    while at + 4 <= len(chunk):
        places.append(at)
        at += 4 + int.from_bytes(chunk[at : at + 4], "big")
    if places:
        at = int(rng.choice(places))
        true = int.from_bytes(chunk[at : at + 4], "big")
        lies = [
            0,
            1,
            4,
            max(true - 1, 0),
            true + 1,
            2 * true,
            len(chunk) - at - 4,
            len(chunk),
            2**31 - 1,
            2**31,
            2**32 - 1,
        ]
        chunk[at : at + 4] = min(int(rng.choice(lies)), 2**32 - 1).to_bytes(4, "big")


def part_moved(chunk: bytearray, rng: np.random.Generator) -> None:
    n = int(rng.integers(1, len(chunk) + 1))
    start, to = (int(rng.integers(0, len(chunk) - n + 1)) for _ in range(2))
    chunk[to : to + n] = chunk[start : start + n]


def part_lost_or_doubled(chunk: bytearray, rng: np.random.Generator) -> None:
    at, n = int(rng.integers(len(chunk))), int(rng.integers(1, 40))
    if rng.random() < 0.5:
        del chunk[at : at + n]
    else:
        chunk[at:at] = chunk[at : at + n]


MUTATIONS: tuple[Mutation, ...] = (
    random_bytes,
    flipped_bit,
    truncation,
    first_bytes,
    after_the_header,
    run_of_one_value,
    block_size,
    raw_size,
    length_of_a_block,
    part_moved,
    part_lost_or_doubled,
)


def damage(chunk: bytes, seed: int) -> bytes:
    """The chunk with one to three mutations."""
    rng = np.random.default_rng(seed)
    damaged = bytearray(chunk)
    for _ in range(int(rng.integers(1, 4))):
        if len(damaged) <= HEADER_BYTES:
            break
        MUTATIONS[int(rng.integers(len(MUTATIONS)))](damaged, rng)
    return bytes(damaged)
