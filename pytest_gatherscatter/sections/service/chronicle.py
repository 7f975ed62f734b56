"""The gatherer's word for an audit: each decision as it is made, and what came of each section.

The journal forgets what is over; this does not. It stands beside it, ``<lab>.history.jsonl`` in
the state directory, and is never read by a gatherer. A line comes after the journal's sync and
has none of its own, for nothing waits for it; what a crash kept out is told once more when the
next gatherer reads the journal.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_gatherscatter.host.process import clock_id
from pytest_gatherscatter.sections.service.history import History

log = logging.getLogger("gatherscatter.gatherer")


def chronicle_name(lab: str) -> str:
    """Return the name of a lab's history in the state directory."""
    return f"{lab}.history.jsonl"


class Chronicle:
    """Writes the history of one lab; without a state directory there is none."""

    def __init__(self, lab: str, state_dir: Path | None) -> None:
        self._lab = lab
        self._clock = clock_id()
        self._history = None if state_dir is None else History(state_dir / chronicle_name(lab))
        self._told = False

    def tell(self, event: Mapping[str, Any]) -> None:
        """Add an event. What cannot be written is a line of log, once: nothing depends on it."""
        if self._history is None or event["what"] == "token":
            return
        # The answer to a workload is told in the words of an audit, when the section has ended.
        told = {name: fact for name, fact in event.items() if name != "answer"}
        line = {"at": time.time(), "lab": self._lab, "clock": self._clock, **told}
        try:
            self._history.append(line)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("there will be no audit: %s: %s", self._history.path, error.strerror)
