"""`hdrmx agree`: two processings of the same frames, compared stage by stage."""

from __future__ import annotations

from pathlib import Path

import click

from hdrmx.errors import EXIT_FINDING, EXIT_GOOD, NotMeasured


@click.command(epilog="Example: hdrmx agree hdrmx-process-data dials-results --json agreement.json")
@click.argument("ours", type=click.Path(path_type=Path))
@click.argument("theirs", metavar="DIALS_FOLDER", type=click.Path(path_type=Path))
@click.option("--json", "json_path", metavar="FILE", help="Write all figures as JSON ('-': to the terminal).")
@click.option("--shells", is_flag=True, help="Show figures by resolution, too.")
@click.option(
    "--demand", "demands", multiple=True, metavar="NAME=VALUE", help="Change what is demanded, such as cc_half=0.01."
)
def command(ours: Path, theirs: Path, json_path: str | None, shells: bool, demands: tuple[str, ...]) -> int:
    """Say how far the results in OURS agree with those in DIALS_FOLDER.

    OURS is a folder that `hdrmx process` wrote, DIALS_FOLDER one in which the DIALS programs ran on the same
    frames (or another of hdrmx). Each stage that both have is compared; a line with a demand says whether it is met.

    Exit code: 0 all demands are met, 1 some aren't, 2 no stage is in both, 3 bad input.
    """
    import json

    from hdrmx.analysis.agree import compare
    from hdrmx.analysis.agree_checks import Demands
    from hdrmx.io.compared import read_processing
    from hdrmx.io.whole import finite, write_json
    from hdrmx.report.agreement import render

    wanted = Demands().changed(demands)
    found = compare(read_processing(ours), read_processing(theirs), wanted)
    if json_path == "-":
        print(json.dumps(finite(found.as_dict()), indent=1))
    else:
        print(render(found, shells=shells))
        if json_path is not None:
            write_json(Path(json_path), found.as_dict())
    if found.is_empty:
        raise NotMeasured(f"{ours} and {theirs} have no stage in common: nothing could be compared")
    return EXIT_GOOD if found.is_within else EXIT_FINDING
