"""``gatherscatter audit``: do the records of tests and of the gatherer confirm each other?"""

from dataclasses import asdict
from pathlib import Path

import click

from pytest_gatherscatter.cli.option import Asked, examples, lab_options
from pytest_gatherscatter.cli.output import say, say_json, say_table
from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.sections.audit.check import audit as look
from pytest_gatherscatter.sections.audit.remark import Remark
from pytest_gatherscatter.sections.service.evidence import (
    file_check,
    gatherer_side,
    workload_side,
)
from pytest_gatherscatter.sections.service.recorder import RECORDS

CONTRADICTED = 1
"""The exit status when something cannot be true."""


@click.command(
    epilog=examples(
        "gatherscatter audit",
        "gatherscatter audit --records gs-artifacts --state-dir ~/.local/state/gatherer",
        "gatherscatter audit --json | jq '.contradictions[].text'",
    )
)
@click.option("--records", metavar="PATH", help="What tests wrote: sections.jsonl, or its folder.")
@click.option("--state-dir", metavar="DIR", help="What the gatherer wrote: its state directory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@lab_options
def audit(asked: Asked, *, records: str | None, state_dir: str | None, as_json: bool) -> int:
    """Hold what tests wrote down against what the gatherer did, and captures against both.

    Tokens, t0, members, overlaps, deadlines, skew, verdicts and the SHA-256 of each capture are
    worked out again from the files alone; nothing is connected to. Without --lab all labs are
    looked at. A line for each contradiction, and for each thing that the files leave open. 0:
    confirmed, 1: contradicted, 2: there is nothing to read.
    """
    settings = asked.settings()
    ours = Path(records) if records is not None else _if_there(settings.artifacts / RECORDS)
    theirs = Path(state_dir) if state_dir is not None else settings.gatherer.state_dir
    if ours is None and theirs is None:
        raise SettingsInvalid("--records", f"{settings.artifacts / RECORDS} is not there")
    side, folder = (None, Path()) if ours is None else workload_side(ours)
    other = None if theirs is None else gatherer_side(theirs)
    for one in (side, other):
        if one is not None and asked.lab is not None:
            one.leave_out_all_but(asked.lab)
    result = look(side, other, file_check(folder))
    if as_json:
        say_json({"confirmed": not result.contradictions, **asdict(result)})
    else:
        say_table("contradicted", ("section", "what", "why"), map(_row, result.contradictions))
        say_table("open", ("section", "what", "why"), map(_row, result.open))
        count = len({one.section for one in result.contradictions})
        say(f"{result.sections - count} of {result.sections} sections confirmed")
    return CONTRADICTED if result.contradictions else 0


def _if_there(path: Path) -> Path | None:
    old = path.with_name(path.name + ".1")
    return path if path.exists() or old.exists() else None


def _row(remark: Remark) -> tuple[str, str, str]:
    return remark.section, remark.check, remark.text
