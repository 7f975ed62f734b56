"""The fixtures ``critical_section`` (the factory) and ``gs_section`` (a look at the marker's).

The factory's sections open inside the test function, so whatever goes wrong with them is a
FAILURE of the call; the errors keep their types, so that a test may catch them.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, TypeVar

from pytest_gatherscatter.errors import GatherScatterError, SectionFailed, SectionMisused
from pytest_gatherscatter.plugin import verdict
from pytest_gatherscatter.plugin.marker import Arguments, arguments
from pytest_gatherscatter.plugin.passage import LAB_ERRORS, Passage
from pytest_gatherscatter.plugin.progress import Progress
from pytest_gatherscatter.sections.section import Section

T = TypeVar("T")

THREAD = "gatherscatter-wait"
"""Name of the thread in which an async test waits; it has ended whenever the section is quiet."""

CANCEL_SECONDS = 5.0
"""How long a cancelled wait may take to end: it looks about every second, or at the end of an
attempt to connect."""


class CriticalSection:
    """Opens critical sections in a test: ``with critical_section("burst") as section: ...``."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(  # noqa: PLR0913 - the marker's keywords, all optional
        self,
        name: str | None = None,
        *,
        require: str | Iterable[str] = (),
        bench: str | None = None,
        max_duration: float | str | None = None,
        max_skew: float | str | None = None,
        min_monitors: int | None = None,
        no_gatherer: Literal["run", "skip", "fail"] | None = None,
        not_gathered: Literal["fail", "skip", "run"] | None = None,
        quiet: Literal["report", "strict"] | None = None,
        check: Callable[[Section], object] | None = None,
    ) -> "SectionBlock":
        """Return a section to enter by ``with`` or ``async with``; nothing happens before.

        Args:
            name: for people and properties; without one, the test's own.
            require: agents that must take part, added to those of the settings.
            bench: what it has for itself; else the settings' bench.
            max_duration: seconds, or a text like ``"500ms"``; past it monitors make safe.
            max_skew: likewise; the largest spread of the starts, with its uncertainty.
            min_monitors: how many must have measured.
            no_gatherer: what to do without a gatherer.
            not_gathered: what to do when a required agent is missing.
            quiet: ``strict`` fails when others in this process keep sockets or threads open.
            check: called with the section after it closed, if nothing is wrong with it.

        Raises:
            SettingsInvalid: a value is not allowed.
        """
        __tracebackhide__ = True
        given: dict[str, Any] = {
            "name": name,
            "require": require if isinstance(require, str) else frozenset(require),
            "bench": bench,
            "max_duration": max_duration,
            "max_skew": max_skew,
            "min_monitors": min_monitors,
            "no_gatherer": no_gatherer,
            "not_gathered": not_gathered,
            "quiet": quiet,
            "check": check,
        }
        if not given["require"]:
            del given["require"]
        return SectionBlock(self._progress, arguments("critical_section()", (), given))


class SectionBlock:
    """A section around a block of a test; ``as`` gives the :class:`Section`.

    May be entered again after it was left: each time is a section of its own.
    """

    def __init__(self, progress: Progress, said: Arguments) -> None:
        self._progress = progress
        self._said = said
        self._passage: Passage | None = None

    # ── with ───────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Section:
        """Wait until all are ready, and begin together with them.

        Raises:
            SectionFailed, BrokerError: it will not be; ``LAB: …``.
            SectionMisused: another section is open, or the test is marked, or async.
        """
        __tracebackhide__ = True
        if _loop_runs():
            raise SectionMisused("'with' would stop the running loop: write 'async with'")
        passage = self._new()
        try:
            passage.gather()
            section = passage.enter()
        except LAB_ERRORS as error:
            self._tell(passage, error)
            raise
        self._passage = passage
        return section

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hand in what happened; raise what is wrong unless the block itself raised.

        Raises:
            SectionFailed: a finding failed (``DUT: …``), or something was not measured.
        """
        __tracebackhide__ = True
        passage = self._current()
        self._judge(passage, error, passage.leave(self._progress.outcome(error)))

    # ── async with ─────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Section:
        """Do the same while the loop goes on; it stands still only from go to the start."""
        __tracebackhide__ = True
        passage = self._new()
        try:
            await self._off_loop(passage.gather)
            section = passage.enter()
        except LAB_ERRORS as error:
            self._tell(passage, error)
            raise
        except asyncio.CancelledError:
            passage.give_up("cancelled")
            raise
        self._passage = passage
        return section

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do as ``__exit__`` does, while the loop goes on."""
        __tracebackhide__ = True
        passage = self._current()
        outcome = self._progress.outcome(error)
        passage.stop()
        self._judge(passage, error, await self._off_loop(lambda: passage.leave(outcome)))

    async def _off_loop(self, work: Callable[[], T]) -> T:
        """Do blocking ``work`` in a thread that has ended when this returns."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(setter: Callable[[Any], None], value: object) -> None:
            if not done.done():
                setter(value)

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it belongs to the one who waits
                loop.call_soon_threadsafe(settle, done.set_exception, error)
            else:
                loop.call_soon_threadsafe(settle, done.set_result, result)

        thread = threading.Thread(target=run, name=THREAD, daemon=True)
        thread.start()
        try:
            return await done
        except asyncio.CancelledError as error:
            error.add_note(self._progress.run.cancel_wait())
            raise
        finally:
            thread.join(CANCEL_SECONDS)

    # ── both ───────────────────────────────────────────────────────────────────────────

    def _new(self) -> Passage:
        __tracebackhide__ = True
        if self._progress.arguments is not None:
            raise SectionMisused(
                "the test is marked critical_section already, and sections do not nest"
            )
        return Passage(self._progress.run, self._progress.item, self._said)

    def _tell(self, passage: Passage, error: GatherScatterError) -> None:
        """Skip if the policies say so; else remember that the error is ours."""
        if passage.skips(error):
            verdict.skip(error)
        self._progress.mark_ours(error)

    def _current(self) -> Passage:
        __tracebackhide__ = True
        passage, self._passage = self._passage, None
        if passage is None:
            raise SectionMisused("the section is left without having been entered")
        return passage

    def _judge(
        self, passage: Passage, error: BaseException | None, errors: list[SectionFailed]
    ) -> None:
        __tracebackhide__ = True
        if error is not None:
            self._progress.add_lines(errors)
            return
        if errors:
            self._progress.add_lines(errors[1:])
            self._progress.mark_ours(errors[0])
            raise errors[0]
        if self._said.check is not None:
            self._said.check(passage.section)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class SectionView:
    """The marker's section, looked up at each access: fixtures are made before it opens.

    Raises :class:`SectionMisused` from every attribute while there is no section to look at.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the section's, whatever it is
        """Read an attribute of the section."""
        __tracebackhide__ = True
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._section(), name)

    def __repr__(self) -> str:
        """Show the section, or that there is none yet."""
        passage = self._progress.passage
        section = None if passage is None else passage.section
        return "<gs_section: not open>" if section is None else repr(section)

    def _section(self) -> Section:
        __tracebackhide__ = True
        passage = self._progress.passage
        if passage is None:
            raise SectionMisused(
                "gs_section looks at the section of a test that is marked critical_section; "
                "the factory gives its section by 'with critical_section() as section'"
            )
        if passage.section is None:
            raise SectionMisused(
                "the section is not open yet: fixtures are made before it, unless the marker "
                'says span="test"'
            )
        return passage.section
