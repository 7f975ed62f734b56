"""The workload's word for an audit: what it knew at go, and what came of the section.

The lines stand in ``sections.jsonl`` beside the captures. The one at go falls into the lead, so
it is not synced; the one at the end is, where there is another side to hold it against. That
they cannot be written is no fault of the section, and a note in the summary.
"""

import os
import time
from pathlib import Path

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.host.process import clock_id
from pytest_gatherscatter.sections.account import Facts, begun, ended
from pytest_gatherscatter.sections.section import Section
from pytest_gatherscatter.sections.service.history import History
from pytest_gatherscatter.sections.verdict import SectionVerdict
from pytest_gatherscatter.sections.workload.machine import Workload

RECORDS = "sections.jsonl"
"""The file's name in the folder of artifacts."""


class Recorder:
    """Writes the lines of one run. One thread at a time.

    Args:
        folder: of artifacts; made by the first line.
        lab: the lab's name.
        run: id of the run.
        owner: who runs, for people.
        notes: takes a line if nothing can be written.
    """

    def __init__(self, folder: Path, *, lab: str, run: str, owner: str, notes: list[str]) -> None:
        self._history = History(folder / RECORDS)
        self._notes = notes
        # Found out here, and not in the lead of a section.
        self._whose = {
            "lab": lab,
            "run": run,
            "owner": owner,
            "host": os.uname().nodename,
            "clock": clock_id(),
        }

    def begun(self, section: Section, machine: Workload) -> None:
        """Write that it begins now, unsynced: one that is killed inside has this line."""
        self._write(begun(section, machine, now=time.monotonic()), sync=False)

    def ended(self, section: Section, machine: Workload) -> None:
        """Write what came of a section that began."""
        facts = ended(section, machine, section.verdict, now=time.monotonic())
        self._write(facts, sync=section.coordinated)

    def missed(self, section: Section, machine: Workload, error: BaseException) -> None:
        """Write that a section never began, and whose wish that was."""
        ours = isinstance(error, GatherScatterError | OSError)
        verdict = SectionVerdict.NOT_GATHERED if ours else SectionVerdict.WITHDRAWN
        facts = ended(section, machine, verdict, now=time.monotonic())
        self._write(facts | {"text": str(error)}, sync=True)

    def _write(self, facts: Facts, *, sync: bool) -> None:
        try:
            self._history.append({"at": time.time(), **facts, **self._whose}, sync=sync)
        except OSError as error:
            path = self._history.path
            note = f"what came of sections is not on record: {path}: {error.strerror}"
            if note not in self._notes:
                self._notes.append(note)
