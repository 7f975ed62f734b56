"""Stops the clocks of others while a test waits for the lab.

A test's timeout is about the test. pytest-timeout's timer and the one of pytest's faulthandler
are stopped while a section gathers, goes or closes, and armed again with their full time, if
they were armed. pytest-timeout is spoken to through its own hooks, so that whoever replaces
its timer by these hooks is stopped as well.
"""

import contextlib
from collections.abc import Iterator

import pytest

_ARMED = pytest.StashKey[object]()


class Timers:
    """Sees timers being set and cancelled; registered as a plugin of pytest."""

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: object) -> None:
        """Remember that it is armed, and with what; whoever arms it comes after us."""
        item.stash[_ARMED] = settings

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item) -> None:
        """Remember that it is not armed any more."""
        if _ARMED in item.stash:
            del item.stash[_ARMED]

    @contextlib.contextmanager
    def stopped(self, item: pytest.Item) -> Iterator[None]:
        """Stop the timers of a test inside the block."""
        settings = item.stash.get(_ARMED, None)
        if settings is not None:
            item.config.hook.pytest_timeout_cancel_timer(item=item)
        with _faulthandler_stopped(item.config):
            try:
                yield
            finally:
                if settings is not None:
                    item.config.hook.pytest_timeout_set_timer(item=item, settings=settings)


@contextlib.contextmanager
def _faulthandler_stopped(config: pytest.Config) -> Iterator[None]:
    """Stop the dump of tracebacks that ``faulthandler_timeout`` asks for."""
    seconds = (
        float(config.getini("faulthandler_timeout") or 0)
        if config.pluginmanager.has_plugin("faulthandler")
        else 0.0
    )
    if seconds <= 0:
        yield
        return
    import faulthandler  # noqa: PLC0415 - only where it is in use

    # There is no public way to pytest's copy of stderr, which outlives capturing.
    from _pytest.faulthandler import fault_handler_stderr_fd_key  # noqa: PLC0415 - as above

    try:
        exits = bool(config.getini("faulthandler_exit_on_timeout"))
    except ValueError:  # pytest 8 does not know it
        exits = False
    faulthandler.cancel_dump_traceback_later()
    try:
        yield
    finally:
        faulthandler.dump_traceback_later(
            seconds,
            file=config.stash[fault_handler_stderr_fd_key],
            exit=exits,
        )
