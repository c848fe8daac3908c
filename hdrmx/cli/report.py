"""`hdrmx report`: a page drawn again from stored files, without running anything."""

from __future__ import annotations

from pathlib import Path

import click

from hdrmx.errors import InputError
from hdrmx.io.records import FILE_NAME


@click.command(epilog="Example: hdrmx report hdrmx-profile-master")
@click.argument("where", metavar="FOLDER_OR_RECORD", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write [default: beside what it shows].")
@click.option(
    "--page",
    type=click.Choice(["process", "profile"]),
    help="Which page to draw, where -o is given and the folder has what both need [default: profile].",
)
def command(where: Path, output: Path | None, page: str | None) -> None:
    """Draw the pages of a run again: report.html from its record, process.html from its results.

    FOLDER_OR_RECORD is a folder that `hdrmx profile` or `hdrmx process` wrote, or a record by itself.
    """
    from hdrmx.io.results import SUMMARY
    from hdrmx.report.process_page import write_process_page
    from hdrmx.report.profile_page import write_profile_page

    is_file = where.is_file()
    has = {"profile": is_file or (where / FILE_NAME).is_file(), "process": (where / SUMMARY).is_file()}
    wanted = [page] if page else [name for name, there in has.items() if there]
    if not wanted:
        what = f"has neither {FILE_NAME} nor {SUMMARY}"
        raise InputError(where, what, "give a folder that hdrmx profile or hdrmx process wrote")
    if output is not None:
        wanted = wanted[:1]
    for name in wanted:
        draw = write_profile_page if name == "profile" else write_process_page
        print(f"written to {draw(where, output)}")
