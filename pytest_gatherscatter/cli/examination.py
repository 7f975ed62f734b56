"""Serving graders, and again with other settings: after a SIGHUP, or over another broker."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_gatherscatter.cli.stop import Stop
from pytest_gatherscatter.errors import BrokerUnreachable, SettingsInvalid
from pytest_gatherscatter.gradersetting import ExaminerSettings
from pytest_gatherscatter.settings import Settings

if TYPE_CHECKING:
    from pytest_gatherscatter.graders.service.examiner import Account
    from pytest_gatherscatter.graders.service.metrics import Metrics

log = logging.getLogger("gatherscatter.examiner")

MOST_SHOWN = 20
"""Ids in a line: of askers that died there may have been thousands in its time."""

Told = tuple[Settings, ExaminerSettings]
"""The settings, and those of the examiner with the command line's."""


class Examination:
    """An examiner of one process, under one settings after the other.

    Args:
        lab: the lab's name, which stays.
        told: the first settings.
        stop: ends it.
        fresh: reads the settings again if somebody asks for it, and returns them if they are right.
        metrics: is told how it stands.
    """

    def __init__(
        self,
        lab: str,
        told: Told,
        stop: Stop,
        fresh: Callable[[], Told | None],
        metrics: "Metrics | None",
    ) -> None:
        self._lab, self._told, self._stop, self._fresh = lab, told, stop, fresh
        self._metrics = metrics
        self._old: Told | None = None
        self._accounts: list[Account] = []

    @property
    def stuck(self) -> bool:
        """Whether threads have not come back."""
        return any(one.stuck for one in self._accounts)

    def run(self, url: str, ended: Callable[[], bool]) -> None:
        """Serve until there are other settings, or it is ended.

        What only its use shows (a name that is taken) leaves the old settings, too, and a broker
        that is away just then is waited for: both have served before.

        Raises:
            SettingsInvalid, BrokerError: as :meth:`ExaminerService.run`, at the first time.
        """
        from pytest_gatherscatter.graders.service.examiner import (  # noqa: PLC0415 - not for --help
            ExaminerService,
        )

        fresh: Told | None = None

        def stops() -> int:
            nonlocal fresh
            fresh = self._fresh() or fresh
            return max(self._stop.times, int(ended()), int(fresh is not None))

        settings, told = self._told
        try:
            service = ExaminerService(self._lab, url, told, settings.graders, self._metrics)
            account = service.run(stops)
        except SettingsInvalid as error:
            if self._old is None:
                raise
            log.error("the old settings stay: %s", error)  # noqa: TRY400 - one line
            self._told, self._old = self._old, None
            return
        except BrokerUnreachable as error:
            if not self._accounts:
                raise
            log.warning("%s; tries again", error)
            return
        self._accounts.append(account)
        _tell(account)
        self._old = None
        if fresh is not None:
            self._told, self._old = fresh, self._told


def _tell(account: "Account") -> None:
    """Say how an examiner ended."""
    for what, ids in (("given back", account.given_back), ("not said", account.unsaid)):
        if ids:
            more = ", …" if len(ids) > MOST_SHOWN else ""
            log.info("%d %s: %s%s", len(ids), what, ", ".join(ids[:MOST_SHOWN]), more)
    for one in account.stuck:
        what = f"request {one.request}" if one.request else "its end"
        log.error("thread %s has not come back from %s (%.0f s)", one.thread, what, one.seconds)
    if not account.stuck:
        log.info("all threads have ended")
