"""The beginning of a balancer: whose tasks are those that an earlier one had in hand?"""

from collections.abc import Mapping

from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.roundrobin.desk import Desk
from pytest_gatherscatter.roundrobin.giving import Giving
from pytest_gatherscatter.roundrobin.registry import Registry
from pytest_gatherscatter.wire import roundrobin as m
from pytest_gatherscatter.wire.names import balancer_event, known_key


class Takeover:
    """See the module. Belongs to one connection of a balancer, whose id is ``balancer``."""

    def __init__(
        self,
        balancer: str,
        desks: Mapping[str, Desk],
        registry: Registry,
        giving: Giving,
        out: Effects,
    ) -> None:
        self._balancer, self._desks = balancer, desks
        self._registry, self._giving, self._out = registry, giving, out
        self._settles_at: float | None = None

    @property
    def settling(self) -> bool:
        """Whether workers are still to tell what they have."""
        return self._settles_at is not None

    def start(self, now: float, *, within: float) -> None:
        """Ask all workers who they are; give out nothing twice before they could say."""
        self._settles_at = now + within
        for service in self._desks:
            started = m.BalancerStarted(balancer=self._balancer, service=service)
            self._out.publish(balancer_event("started", service), started)

    def count(self, message: m.WorkersKnown, delivery: int) -> None:
        """Take a census out of its queue; it stays there for who follows."""
        desk = self._desks.get(message.service)
        if desk is None:
            return
        self._out.keep(delivery)
        for old in [*desk.census.take(message, delivery), *desk.census.outdated()]:
            self._out.settle(old, Verdict.ACK)

    def look(self, now: float) -> None:
        """Settle in, if all have told, or had their time."""
        if self._settles_at is None:
            return
        complete = all(desk.census.complete for desk in self._desks.values())
        if complete or now >= self._settles_at:
            self._settles_at = None
            self._settle_in(now)

    def _settle_in(self, now: float) -> None:
        """Give out what nobody has: marked, if somebody is missing who may have begun it."""
        for desk in self._desks.values():
            unclaimed, desk.unclaimed = desk.unclaimed, {}
            complete = desk.census.complete
            for task in unclaimed.values():
                if complete:
                    self._giving.offer(task, now, ahead=True)
                else:
                    self._giving.again(task, now)
            self._giving.line_up([*unclaimed.values()])
            desk.census.settled()
        self.publish()

    def publish(self) -> None:
        """Say who may have tasks, if that has changed."""
        begun: dict[str, set[tuple[str, str]]] = {}
        for task in self._giving.tasks.values():
            if task.begun_by is not None:
                begun.setdefault(task.service, set()).add(task.begun_by)
        for service, desk in self._desks.items():
            pairs = self._registry.pairs(service) | begun.get(service, set())
            message = desk.census.publish(pairs)
            if message is not None:
                self._registry.awaits(self._out.send(known_key(service), message), service)
