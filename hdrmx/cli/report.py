"""`hdrmx report`: a page drawn again from stored files, without running anything."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: hdrmx report results -o process.html")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write [default: process.html in FOLDER]."
)
def command(folder: Path, output: Path | None) -> None:
    """Draw the page of a run again, from FOLDER, which `hdrmx process` or `hdrmx profile` wrote."""
    from hdrmx.report.process_page import write_process_page

    print(f"written to {write_process_page(folder, output)}")
