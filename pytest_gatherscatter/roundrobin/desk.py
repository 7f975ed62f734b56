"""What a balancer keeps of one service: what waits, whom it knows, and what it came to."""

from collections import OrderedDict

from pytest_gatherscatter.roundrobin.backlog import Backlog
from pytest_gatherscatter.roundrobin.census import Census
from pytest_gatherscatter.roundrobin.task import Task
from pytest_gatherscatter.wire.roundrobin import ServiceSeen

MOST_BOUND = 10_000
"""Affinities that are remembered: of benches there are fewer."""


class Desk:
    """See the module. The counts are since the balancer was started."""

    def __init__(self, service: str, most: int, most_bytes: int) -> None:
        self.service = service
        self._most, self._most_bytes = most, most_bytes
        self.given = self.done = self.busy = self.expired = self.lost = 0
        self.bound: OrderedDict[str, str] = OrderedDict()
        """Which worker had an affinity last."""
        self.reset("")

    def reset(self, balancer: str) -> None:
        """Forget what went with a connection; ``balancer`` is the id of the next one."""
        self.backlog = Backlog(self._most, self._most_bytes)
        self.census = Census(self.service, balancer)
        self.unclaimed: dict[str, Task] = {}
        """What an earlier balancer may have given somebody, until all have said what they have."""

    def bind(self, affinity: str, worker: str) -> None:
        """Remember who has an affinity."""
        self.bound[affinity] = worker
        self.bound.move_to_end(affinity)
        if len(self.bound) > MOST_BOUND:
            self.bound.popitem(last=False)

    def seen(self) -> ServiceSeen:
        """Say how it stands."""
        return ServiceSeen(
            service=self.service,
            backlog=len(self.backlog) + len(self.unclaimed),
            given=self.given,
            done=self.done,
            busy=self.busy,
            expired=self.expired,
            lost=self.lost,
        )
