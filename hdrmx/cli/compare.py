"""`hdrmx compare`: what changed between two versions, by records of their runs, or by running them now in turn."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from hdrmx.errors import EXIT_FINDING, EXIT_NOT_MEASURED, InputError
from hdrmx.record import Record


@click.command(epilog="Example: hdrmx compare before after --markdown comment.md")
@click.argument("old")
@click.argument("new")
@click.option("--data", help="Data to run on, where OLD and NEW are revisions [default: the demo set].")
@click.option("--images", metavar="A-B", help="Image numbers to use, where revisions are run.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Runs of each revision.")
@click.option("--count", is_flag=True, help="Count calls, instructions and memory of revisions exactly, too.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Threads of these runs.")
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default=True,
    help="Checkout that revisions are of.",
)
@click.option(
    "--within", type=click.FloatRange(0, 1), default=0.02, show_default=True, help="Change of time to ignore."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write this, for a pull request.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--sarif", type=click.Path(path_type=Path), help="Write SARIF.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with the differential flame graph.")
def command(
    old: str,
    new: str,
    data: str | None,
    images: str | None,
    rounds: int,
    count: bool,
    jobs: int,
    repository: Path,
    within: float,
    as_json: bool,
    markdown: Path | None,
    junit: Path | None,
    sarif: Path | None,
    html: Path | None,
) -> int:
    """Compare two versions: answers first, then exact counts, then memory and time.

    OLD and NEW are records (record.json, a profile's folder, or a folder of profiles' folders, run i of one made
    next to run i of the other), or both revisions of a git checkout, which are then run in turn on the same data.
    Ends with 1 when something got worse or an answer changed, with 2 when nothing could be compared.
    """
    from hdrmx.analysis.compare import compare
    from hdrmx.io.whole import write_json, write_whole
    from hdrmx.report import comparison as words
    from hdrmx.report import exchange

    with ExitStack() as stack:
        if _is_record(old) and _is_record(new):
            before, after = read_records(Path(old)), read_records(Path(new))
        elif _is_record(old) or _is_record(new):
            raise InputError(f"{old}, {new}", "are a record and a revision", "give two records or two revisions")
        else:
            kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hdrmx-compare-")))
            before, after = _run(stack, repository, (old, new), data, images, rounds, jobs, kept, count)
        result = compare([r for r, _ in before], [r for r, _ in after], within)
        if html is not None:
            from hdrmx.report.comparison_page import comparison_page

            page = comparison_page(result, old, new, *(_folded(side) for side in (before, after)))
            write_whole(html, page.encode())
    if markdown is not None:
        write_whole(markdown, words.markdown(result, old, new).encode())
    if junit is not None:
        write_whole(junit, exchange.junit("hdrmx-compare", words.checked(result)).encode())
    if sarif is not None:
        write_json(sarif, exchange.sarif("performance-change", "a cost or an answer changed", words.checked(result)))
    if as_json:
        print(json.dumps(words.values(result, old, new), indent=1))
    else:
        print("\n".join(words.lines(result, old, new)))
    if not result.is_comparable or not result.differences:
        return EXIT_NOT_MEASURED
    return EXIT_FINDING if result.findings else 0


Runs = list[tuple[Record, Path | None]]


def _is_record(name: str) -> bool:
    path = Path(name)
    return path.is_file() or (
        path.is_dir() and bool(list(path.glob("record.json")) or list(path.glob("*/record.json")))
    )


def read_records(path: Path) -> Runs:
    """The record of a file or folder, or of all folders within, by name; with the folder each lies in."""
    from hdrmx.io.records import read_record

    if path.is_file() or (path / "record.json").exists():
        return [(read_record(path), path.parent if path.is_file() else path)]
    return [(read_record(found), found.parent) for found in sorted(path.glob("*/record.json"))]


def _folded(runs: Runs) -> str:
    """Stacks of the first run that has some."""
    for record, folder in runs:
        name = record.files.get("folded", "profile.folded")
        if folder is not None and (folder / name).exists():
            return (folder / name).read_text(encoding="utf-8")
    return ""


def _run(
    stack: ExitStack,
    repository: Path,
    names: tuple[str, str],
    data: str | None,
    images: str | None,
    rounds: int,
    jobs: int,
    folder: Path,
    count: bool,
) -> tuple[Runs, Runs]:
    from hdrmx.analysis.revisions import commit_of, in_turn, tree_of
    from hdrmx.cli.demo import demo_data

    commits = [commit_of(repository, name) for name in names]
    if commits[0] == commits[1]:
        raise InputError(f"{names[0]}, {names[1]}", f"are the same commit {commits[0][:12]}", "give two")
    trees = [stack.enter_context(tree_of(repository, commit)) for commit in commits]
    path = data or str(demo_data(lambda text: click.echo(text, err=True)))
    arguments = [str(Path(path).resolve()), "-j", str(jobs), *(["--images", images] if images else [])]
    found = in_turn(trees, arguments, rounds, folder, lambda text: click.echo(text, err=True), count=count)
    old, new = (
        [(record, folder / f"{tree.name}-{i}") for i, record in enumerate(side)] for tree, side in zip(trees, found)
    )
    return list(old), list(new)
