"""What a person sees of tasks that a service does: how far it is, and what they came to."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping

from pytest_gatherscatter.cli.output import complain, say, say_json, say_table
from pytest_gatherscatter.cli.tally import Progress, paces, paces_line, percentile
from pytest_gatherscatter.wire.roundrobin import Executed, Working

log = logging.getLogger("gatherscatter.client")

MOST_COMPLAINTS = 10
"""Tasks that failed and are told one by one; the summary counts all."""


class TaskView:
    """Shows how tasks end, and sums them up; with ``as_json`` in one object on stdout.

    ``right`` says whether an answer holds what it should.
    """

    def __init__(
        self, count: int, right: Callable[[Executed], bool], *, tracked: bool, as_json: bool
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        """How they ended; ``wrong`` is what was done, and came back as something else."""
        self._right, self._tracked, self._as_json = right, tracked, as_json
        self._count = count
        self._took: list[float] = []
        self._by_worker: dict[str, list[float]] = {}
        self._told = 0.0
        self._progress = Progress(count, plain=not as_json)

    @property
    def failed(self) -> int:
        """How many have ended otherwise than they should."""
        return self.outcomes.total() - self.outcomes["done"]

    def tell(self, answer: Executed, seconds: float) -> None:
        """Take an answer that came after so many seconds."""
        outcome: str = answer.outcome
        if outcome == "done" and self._tracked and not self._right(answer):
            outcome = "wrong"
        self.outcomes[outcome] += 1
        self._took.append(seconds)
        if answer.worker:
            self._by_worker.setdefault(answer.worker, []).append(seconds)
        if outcome != "done" and self.failed <= MOST_COMPLAINTS and not self._as_json:
            by = f" (worker {answer.worker})" if answer.worker else ""
            complain(f"task {answer.task}{by}: {outcome}: {answer.text}")

    def look(self, working: Mapping[str, Working]) -> None:
        """Show how far it is, and what workers say that they are at."""
        more = f", {len(working)} are worked on" if working else ""
        self._progress.tell(self.outcomes.total(), more)
        for word in working.values():
            if self._count == 1 and word.took > self._told:
                self._told = word.took
                log.info("%s has it, and works on it for %.1f s", word.worker, word.took)

    def end(self, sent: int, seconds: float) -> None:
        """Sum up what came of so many in so many seconds."""
        self._progress.end()
        done, left = self.outcomes["done"], sent - self.outcomes.total()
        figures = paces(self._took, seconds)
        by_worker = {
            name: {"tasks": len(took), "p50_ms": round(1000 * percentile(sorted(took), 50), 3)}
            for name, took in sorted(self._by_worker.items(), key=_counted)
        }
        if self._as_json:
            counts = {"sent": sent, "succeeded": done, "failed": self.failed, "left": left}
            outcomes = dict(self.outcomes)
            say_json({**counts, "outcomes": outcomes, **figures, "workers": by_worker})
            return
        kinds = [f"{n} {what}" for what, n in sorted(self.outcomes.items()) if what != "done"]
        why = f" ({', '.join(kinds)})" if kinds else ""
        more = f", {left} not waited for" if left else ""
        say(f"{sent} sent, {done} succeeded, {self.failed} failed{why}{more}")
        say(paces_line(figures, "answered" if self._tracked else "taken by the broker"))
        rows = [(name, one["tasks"], one["p50_ms"]) for name, one in by_worker.items()]
        say_table("worker", ("worker", "tasks", "p50 ms"), rows)


def _counted(worker: tuple[str, object]) -> list[str | int]:
    """Order names as people do: 10 comes after 9."""
    parts = re.split(r"(\d+)", worker[0])
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]
