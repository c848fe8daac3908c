"""`hdrmx report`: a page drawn from stored files, without running anything: of a run, or of a whole history."""

from __future__ import annotations

from pathlib import Path

import click

from hdrmx.errors import InputError
from hdrmx.io.records import FILE_NAME

PAGE = "report.html"


@click.command(
    epilog="Example: hdrmx report hdrmx-profile-master; hdrmx report .asv/results -o trend.html --png trend.png"
)
@click.argument("where", metavar="FOLDER_OR_RECORD", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write [default: beside what it shows].")
@click.option(
    "--page",
    type=click.Choice(["process", "profile"]),
    help="Which page to draw, where -o is given and the folder has what both need [default: profile].",
)
@click.option("--png", type=click.Path(path_type=Path), help="Of a history: write a picture as well, for mail.")
@click.option("--repo", type=click.Path(path_type=Path), help="Of a history: checkout of the measured project.")
@click.option("--since", metavar="COMMIT", help="Of a history: the release that the ledger counts from, and alarms.")
@click.option("--commit-url", metavar="URL", help="Of a history: what a commit's hash is put behind.")
def command(
    where: Path,
    output: Path | None,
    page: str | None,
    png: Path | None,
    repo: Path | None,
    since: str | None,
    commit_url: str | None,
) -> None:
    """Draw the pages of a run again: report.html from its record, process.html from its results. Or the trend page.

    FOLDER_OR_RECORD is a folder that `hdrmx profile` or `hdrmx process` wrote, or a record by itself; or a results
    folder of asv, or one with the records of many runs below it: then the page tells what changed over history.
    """
    from hdrmx.io.histories import is_history

    if is_history(where):
        _draw_history(where, output or Path(PAGE), png, repo, since, commit_url)
        return
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


def _draw_history(
    where: Path, output: Path, png: Path | None, repo: Path | None, since: str | None, commit_url: str | None
) -> None:
    from dataclasses import replace

    from hdrmx.analysis.regress import Rules, regress
    from hdrmx.cli.progress import progress_bar
    from hdrmx.io.histories import read_history
    from hdrmx.report.trend_page import write_trend_page

    history = read_history(where, repo)
    if commit_url:
        history = replace(history, commit_url=commit_url)
    with progress_bar("series", len(history.series)) as show:
        result = regress(history, Rules(since=since), show)
    print(f"written to {write_trend_page(result, output, since)}")
    if png is not None:
        from hdrmx.report.trend_png import write_trend_png

        print(f"written to {write_trend_png(result, png, since)}")
