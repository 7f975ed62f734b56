"""``gs_grade``: a test has something judged by the graders of the lab, and waits for the grade.

It waits in the test's own thread and shows for what, as sections show for whom they wait. The
test's timeout goes on counting: who judges is part of the test.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pytest_gatherscatter.errors import GatherScatterError, SectionMisused, SettingsInvalid
from pytest_gatherscatter.graders.given import GivenGrade, not_graded
from pytest_gatherscatter.graders.request import make_request
from pytest_gatherscatter.graders.service.asker import WINDOW, GradeAsker
from pytest_gatherscatter.graders.service.file import read_files
from pytest_gatherscatter.plugin.run import Run
from pytest_gatherscatter.quantity import seconds
from pytest_gatherscatter.sections.service.visit import owner_line

LOOK = 0.5
"""Seconds between two words on how long it has been waited."""

TIMEOUT = 30.0
"""Seconds that a grade may take unless the test says otherwise."""

Files = Mapping[str, str | Path | bytes]


class CheckedGrade(GivenGrade):
    """A grade in a test: :meth:`check` fails the test itself, without a traceback."""

    __slots__ = ()

    def check(self) -> "CheckedGrade":
        """Return it if it passed; else fail the test with the grader's message and details."""
        __tracebackhide__ = True
        if self.outcome != "graded":
            pytest.fail(f"LAB: {not_graded(self.answer)}", pytrace=False)
        if not self.passed:
            pytest.fail(f"DUT: {self.failure}", pytrace=False)
        return self


class GradeRunner:
    """What ``gs_grade`` is, for one test."""

    def __init__(self, run: Run, item: pytest.Item) -> None:
        self._run = run
        self._item = item

    def __call__(
        self,
        queue: str,
        payload: Any = None,  # noqa: ANN401 - any JSON
        timeout: float | str = TIMEOUT,
        *,
        files: Files | None = None,
    ) -> CheckedGrade:
        """Have a payload judged by a queue, and return its grade, passed or not.

        Args:
            queue: the queue's name.
            payload: anything that is plain JSON.
            timeout: seconds, or a text like ``"2m"``, in which there has to be an answer.
            files: what goes along, by name: a path from the test's own folder, or bytes. Half a MiB
                of them goes inside the request, more by its path.

        It fails the test if there is no grade: nobody answers, the grader broke, …

        Raises:
            SectionMisused: a section is open, which is quiet.
        """
        __tracebackhide__ = True
        grade = next(self._ask(queue, [payload], timeout, files, 1))
        self._set_properties(grade)
        if grade.outcome != "graded":
            grade.check()
        return grade

    def many(
        self,
        queue: str,
        payloads: Iterable[Any],
        timeout: float | str = TIMEOUT,
        *,
        files: Files | None = None,
        parallel: int = WINDOW,
    ) -> Iterator[CheckedGrade]:
        """Yield the grades of many payloads as they come; ``number`` is the place of each, from 0.

        ``parallel`` of them are asked at a time, and each may take its ``timeout``. What was not
        graded is there too: its ``outcome`` says why, and ``check()`` fails the test.

        Raises:
            SectionMisused: a section is open, which is quiet.
        """
        self._need_noise()
        return self._ask(queue, payloads, timeout, files, parallel)

    def _ask(
        self,
        queue: str,
        payloads: Iterable[Any],
        timeout: float | str,
        files: Files | None,
        parallel: int,
    ) -> Iterator[CheckedGrade]:
        __tracebackhide__ = True
        self._need_noise()
        try:
            yield from self._follow(queue, iter(payloads), timeout, files or {}, parallel)
        except GatherScatterError as error:
            if isinstance(error, SectionMisused):
                raise
            text = error.told
        else:
            return
        pytest.fail(text, pytrace=False)

    def _need_noise(self) -> None:
        if self._run.open is not None:
            raise SectionMisused(
                f"section {self._run.open.name!r} is quiet, and a grade needs the lab: have it "
                "judged before the section or after it"
            )

    def _follow(
        self,
        queue: str,
        payloads: Iterator[Any],
        timeout: float | str,
        files: Files,
        parallel: int,
    ) -> Iterator[CheckedGrade]:
        """Ask for all, and yield what comes; show for how long nothing did."""
        if parallel < 1:
            raise SettingsInvalid("gs_grade.many(): parallel", f"{parallel} must be 1 or more")
        try:
            limit = seconds(timeout)
        except (TypeError, ValueError) as error:
            raise SettingsInvalid("gs_grade(): timeout", str(error)) from None
        found = self._run.found
        if found.url is None:
            raise SettingsInvalid("broker", found.why or "none is configured")
        folder = self._item.path.parent
        sent = read_files(
            {
                name: one if isinstance(one, bytes) else folder / Path(one).expanduser()
                for name, one in files.items()
            }
        )
        owner = f"{self._item.nodeid} of {owner_line()}"
        numbers: dict[str, int] = {}
        places = count()
        with GradeAsker(self._run.settings.lab, found.url, window=parallel) as asker:
            more = True
            since = time.monotonic()
            while True:
                while more and asker.left < parallel:
                    try:
                        payload = next(payloads)
                    except StopIteration:
                        more = False
                        break
                    request = make_request(
                        queue,
                        payload,
                        id=secrets.token_hex(8),
                        now=time.time(),
                        seconds=limit,
                        files=sent,
                        owner=owner,
                    )
                    numbers[request.request] = next(places)
                    asker.ask(request, limit)
                if not more and not asker.left:
                    return
                with self._run.showing(self._item) as show:
                    while not (answers := asker.poll(LOOK)):
                        waited = time.monotonic() - since
                        text = f"waiting for {asker.left} of queue {queue} ({waited:.0f} s)"
                        show(text, (asker.left,))
                for answer in answers:
                    self._need_noise()
                    yield CheckedGrade(answer, numbers.pop(answer.request))
                since = time.monotonic()

    def _set_properties(self, grade: CheckedGrade) -> None:
        """Put it on the test's report, in plain types; a second of one queue gets a number."""
        taken = {name for name, _ in self._item.user_properties}
        prefix, number = f"gs.grade.{grade.queue}", 1
        while f"{prefix}.outcome" in taken:
            number += 1
            prefix = f"gs.grade.{grade.queue}#{number}"
        answer = grade.answer
        facts: dict[str, object] = {"outcome": grade.outcome, "id": answer.request}
        if grade.outcome == "graded":
            facts |= {"passed": grade.passed, "score": grade.score, "seconds": answer.took}
        self._item.user_properties += [(f"{prefix}.{key}", value) for key, value in facts.items()]
