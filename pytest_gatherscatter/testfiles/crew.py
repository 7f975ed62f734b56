"""Who works on a job: supervisors with their slots, and the workers that they hold."""

from collections.abc import Iterator

from msgspec import Raw, Struct, field

from pytest_gatherscatter.testfiles.book import Lease
from pytest_gatherscatter.wire.testfiles import JoinJob

MOST_WORKERS = 1024
"""Living workers of a job: far beyond any lab, a bound on what a flood can make one keep."""


class Worker(Struct):
    """One child of pytest. ``heard`` is the number of the next event that is expected of it.

    ``input`` is what it is started with; ``None`` until that is known. ``output`` are the pieces
    of what its plugins hand in. ``last`` is the nodeid of the test that it ran last.
    """

    name: str
    supervisor: str
    host: str
    heard: int = 0
    leases: list[Lease] = field(default_factory=list)
    gone: bool = False
    input: Raw | None = None
    output: list[str] = field(default_factory=list)
    last: str = ""

    @property
    def current(self) -> Lease | None:
        """The lease that it works on: the first one that it has begun."""
        return self.leases[0] if self.leases and self.leases[0].begun else None


class Supervisor(Struct):
    """A process that holds workers.

    ``heard`` is when it spoke last, ``missing_since`` when its inbox was not there.
    """

    id: str
    host: str
    pid: int
    slots: int
    heard: float
    missing_since: float | None = None
    workers: list[str] = field(default_factory=list)

    def hear(self, now: float) -> None:
        """Note that it spoke."""
        self.heard, self.missing_since = now, None


class Crew:
    """Everybody who works, and who did: names are never given twice."""

    def __init__(self) -> None:
        self.supervisors: dict[str, Supervisor] = {}
        self.workers: dict[str, Worker] = {}
        self._named = 0

    def join(self, message: JoinJob, *, now: float) -> tuple[Supervisor, list[Worker]]:
        """Take a supervisor, with a worker for each slot; said again, it has the same."""
        known = self.supervisors.get(message.supervisor)
        if known is not None:
            known.hear(now)
            return known, []
        supervisor = Supervisor(
            message.supervisor, message.host, message.pid, message.slots, heard=now
        )
        self.supervisors[supervisor.id] = supervisor
        room = min(message.slots, MOST_WORKERS - len(self.living()))
        return supervisor, [self.name(supervisor) for _ in range(room)]

    def name(self, supervisor: Supervisor) -> Worker:
        """Give a supervisor one worker more, under a new name."""
        worker = Worker(f"gw{self._named}", supervisor.id, supervisor.host)
        self._named += 1
        self.workers[worker.name] = worker
        supervisor.workers.append(worker.name)
        return worker

    def of(self, supervisor: Supervisor) -> Iterator[Worker]:
        """Go through its workers that are living."""
        workers = (self.workers[name] for name in supervisor.workers)
        return (worker for worker in workers if not worker.gone)

    def living(self) -> list[Worker]:
        """All workers that are not gone, in the order of their names."""
        return [worker for worker in self.workers.values() if not worker.gone]

    def ready(self) -> list[Worker]:
        """Those of them that can be started, or are."""
        return [worker for worker in self.living() if worker.input is not None]

    def leave(self, supervisor: str) -> Supervisor | None:
        """Let a supervisor go; its workers have to be seen to."""
        return self.supervisors.pop(supervisor, None)
