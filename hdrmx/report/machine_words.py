"""What a machine and its software are, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from hdrmx.record import Limits, Machine, Software
from hdrmx.report.words import doubt_text


def lines(found: Machine | Software) -> Iterator[str]:
    """One line a field; `unknown` where the system doesn't tell."""
    yield f"{type(found).__name__.lower()} {found.fingerprint}"
    for name, text in fields_in_words(found):
        if name != "fingerprint":
            yield f"  {name:<20} {text}"


def fields_in_words(found: Machine | Software) -> list[tuple[str, str]]:
    """Every field, the fingerprint first."""
    return [(f.name.replace("_", " "), _text(f.name, getattr(found, f.name))) for f in fields(found)]


def _text(name: str, value: Any) -> str:
    if value is None:
        return "no limit" if name in ("cpu_quota", "memory_limit_bytes") else "unknown"
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)


def limit_rows(found: Limits) -> list[tuple[str, str, str]]:
    """What was measured: its name, the figure with its unit, and how it was meant or how steady it was."""
    sizes = found.working_set_bytes
    rows = []
    for name, rate in found.read_bytes_s.items():
        size = _size(sizes.get(name, sizes.get("DRAM") if "DRAM" in name else None))
        rows.append((f"reading, {name}", f"{rate / 1e9:.1f} GB/s", f"{size}{_steady(found, f'read {name}')}"))
    for name, rate in found.copy_bytes_s.items():
        rows.append((f"copying, {name}", f"{rate / 1e9:.1f} GB/s", f"counted once{_steady(found, f'copy {name}')}"))
    for name, ops, kind in (("int", found.int_ops_s, "32-bit integers"), ("float", found.float_ops_s, "64-bit floats")):
        if ops is not None:
            rows.append((f"arithmetic, {kind}", f"{ops / 1e9:.1f} Gop/s", f"one core, vectors{_steady(found, name)}"))
    for name, rate in found.decode_px_s.items():
        bits = found.decode_bits_px.get(name.partition(", ")[2])
        said = f"{bits:.2f} bits/px" if bits else ""
        rows.append((f"decoding to {name}", f"{rate / 1e9:.2f} Gpixel/s", f"{said}{_steady(found, f'decode {name}')}"))
    if found.decode_layout_px_s is not None:
        steady = _steady(found, "layout")
        rows.append(
            ("decoding without LZ4", f"{found.decode_layout_px_s / 1e9:.2f} Gpixel/s", f"bit planes only{steady}")
        )
    if found.disk_read_bytes_s is not None:
        rows.append(
            (
                "reading from disk",
                f"{found.disk_read_bytes_s / 1e6:,.0f} MB/s",
                f"a host may cache{_steady(found, 'disk')}",
            )
        )
    if found.cached_read_bytes_s is not None:
        rows.append(
            ("reading a cached file", f"{found.cached_read_bytes_s / 1e6:,.0f} MB/s", _steady(found, "cached")[2:])
        )
    if found.fault_ns is not None:
        rows.append(("page fault", f"{found.fault_ns:,.0f} ns", f"fresh memory{_steady(found, 'faults')}"))
    return rows


def limit_lines(found: Limits) -> Iterator[str]:
    """One line a limit, then what weakens them."""
    took = "" if found.seconds is None else f", in {found.seconds:.0f} s"
    yield f"limits of {found.machine}, measured {found.measured}{took}"
    for name, value, note in limit_rows(found):
        yield f"  {name:<32} {value:>16}   {note}".rstrip()
    for doubt in found.doubts:
        yield f"  {doubt_text(doubt)}"


def _steady(found: Limits, name: str) -> str:
    spread = found.spread.get(name)
    return "" if spread is None else f", median {100 * spread:.0f} % below"


def _size(size: int | None) -> str:
    if size is None:
        return "working set unknown"
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
