"""The play of a companion room: some serve, some ask them, and faults befall both.

A room's own play is a package here, ``simulation/ROOM/``, of four modules:

``party``
    Its processes. Who serves is a :class:`Server`, who asks a :class:`Client` (for graders and
    services an :class:`Inquirer` is all that is needed); each says in
    :meth:`~party.Party.begin` which machine it makes and what it declares, joins them by
    ``self.join``, and answers the machine's ``Run`` effects with delays (``self.later``). What it
    does, it shows to the watch in the moment.
``watch``
    The rules: what must hold whatever happens, seen from outside (work that begins and ends,
    answers), never from a machine's state. The first broken one raises ``Violated``.
``play``
    A :class:`CompanionPlay`, and ``play(seed, …, *, story)``. Its ``__init__`` draws who is there,
    by :meth:`~CompanionPlay.serve` and :meth:`~CompanionPlay.ask`; ``FAULTS`` names what may
    happen (a fault of its own is a ``case`` in :meth:`~CompanionPlay.befall`); ``outcome`` counts.
    It takes the machines' classes as arguments, so that a test can plant a bug.
``__main__``
    The command: :func:`~command.command` of ``play``.

Whatever is drawn is drawn from ``world.random``, always in the same order: a draw more, and every
seed is another story, also those by which tests find planted bugs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

from pytest_gatherscatter.asking import Ask, Ended
from pytest_gatherscatter.broker.topology import Topology
from pytest_gatherscatter.machine import Machine, Run
from pytest_gatherscatter.machine import Told as Word
from pytest_gatherscatter.simulation.network import DELAYS, Network
from pytest_gatherscatter.simulation.outcome import Outcome
from pytest_gatherscatter.simulation.party import Party
from pytest_gatherscatter.simulation.play import Play
from pytest_gatherscatter.simulation.world import EPOCH, VirtualClock, World
from pytest_gatherscatter.wire.grading import GradeRequest
from pytest_gatherscatter.wire.roundrobin import Execute

Told = TypeVar("Told", bound=Outcome)
Served = TypeVar("Served", bound="Server")

LAST_TROUBLE = 12.0
"""Seconds in which faults begin."""


def nothing() -> None:
    """Let a moment pass."""


class Server(Party):
    """Who does what others ask for, until it is told to end."""

    drain_word: ClassVar[object]
    """What its machine is told at a SIGTERM."""

    def __init__(self, world: World, network: Network, name: str, clock: VirtualClock) -> None:
        super().__init__(world, network, name, clock)
        self.at_begin: Callable[[], None] = nothing
        """To be called when a piece of work has begun, for faults that wait for it."""

    def drain(self) -> None:
        """Hear a SIGTERM."""
        self.world.tell(self.name, "is told to end")
        connection = self.link.connection
        if connection is not None:
            connection.cancel()
        if self.pump is not None:
            self.pump.feed(Word(self.drain_word), now=self.now)


class Client(Party):
    """Who asks, and waits for what comes of it; it does not die. ``done`` is to be called then."""

    def __init__(
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        done: Callable[[], None],
    ) -> None:
        super().__init__(world, network, name, clock)
        self.done = done

    @property
    def finished(self) -> bool:
        """Whether it waits for nothing more."""
        raise NotImplementedError


class Watching(Protocol):
    """Who is shown what is asked for, and what comes of it."""

    def asked(self, request: Any) -> None:  # noqa: ANN401 - of the room's own kind
        """See a request go out."""

    def answered(self, answer: Any) -> None:  # noqa: ANN401 - as above
        """See its end."""


class Inquirer(Client):
    """Who asks for some things, each after so many seconds, and waits for the ends of all of them.

    ``make`` makes an asking machine of an id, and ``way`` says what its connection declares.
    """

    def __init__(  # noqa: PLR0913 - what it is told
        self,
        world: World,
        network: Network,
        name: str,
        clock: VirtualClock,
        done: Callable[[], None],
        *,
        watch: Watching,
        requests: Sequence[tuple[float, GradeRequest | Execute]],
        make: Callable[[str], Machine],
        way: Callable[[str], Topology],
    ) -> None:
        super().__init__(world, network, name, clock, done)
        self._watch, self._requests, self._make, self._way = watch, requests, make, way
        self._left = len(requests)

    @property
    def finished(self) -> bool:
        """Whether all that it asked for has ended."""
        return not self._left

    def begin(self) -> None:
        """Ask for all of it, each in its time."""
        asker = self.world.id()
        machine = self._make(asker)
        self.connect(self._way(asker))
        self.pump = self.join(machine, self.world.id(), run=self._do)
        for at, request in self._requests:
            self.later(at, self._ask, request)

    def _ask(self, request: GradeRequest | Execute) -> None:
        self._watch.asked(request)
        seconds = request.deadline - EPOCH - self.world.now
        if self.pump is not None:
            self.pump.feed(Word(Ask(request, seconds)), now=self.now)

    def _do(self, effect: Run) -> None:
        if isinstance(effect.command, Ended):
            self._watch.answered(effect.command.answer)
            self._left -= 1
            self.done()


class CompanionPlay(Play[Told]):
    """One seed's lab of a companion."""

    FAULTS: ClassVar[tuple[str, ...]]
    """What may happen, as often as it stands here."""

    LONGEST: ClassVar[float]
    """Virtual seconds of a play at the most."""

    OPENS: ClassVar[float] = 0.0
    """Seconds after which the first one asks and the first fault strikes."""

    BACK: ClassVar[float]
    """Seconds after which a server that has drained is there again."""

    SOONER: ClassVar[float] = 1.0
    """By what the time is divided for which who has died is away: up to a minute without it."""

    def __init__(self, seed: int, *, story: bool = False) -> None:
        super().__init__(seed, story=story)
        chance = self.world.random
        self.network = Network(
            self.world, mean=chance.choice(DELAYS), spikes=chance.choice((0.0, 0.03)), twice=0.0
        )
        self.servers: list[Server] = []
        self.clients: list[Client] = []

    def serve(self, one: Served) -> Served:
        """Let somebody serve."""
        one.after_crash = lambda: self.world.after(self.BACK, one.start)
        self.servers.append(one)
        return one

    def ask(self, one: Client) -> None:
        """Let somebody ask."""
        self.clients.append(one)

    def look(self) -> None:
        """See whether nobody waits any more: what each client's ``done`` is."""
        self.world.over = all(one.finished for one in self.clients)

    def end(self) -> None:
        """Look at everything, at the end; may raise."""
        raise NotImplementedError

    def perform(self) -> None:
        """Let all start, the servers first, and trouble come."""
        world, chance = self.world, self.world.random
        for server in self.servers:
            world.after(chance.random(), server.start)
        for client in self.clients:
            world.after(self.OPENS + chance.random() * 3.0, client.start)
        for _ in range(chance.choice((0, 1, 1, 2, 3, 4))):
            self._trouble()
        world.run(self.LONGEST)
        self.end()

    # ── what befalls them ──────────────────────────────────────────────────────────────

    def _trouble(self) -> None:
        """Draw one fault, some time in the first seconds."""
        chance = self.world.random
        one = chance.choice(self.servers)
        at = self.OPENS + chance.random() * LAST_TROUBLE
        what = chance.choice(self.FAULTS)
        self.faults.append(what)
        self.befall(what, one, at)

    def befall(self, what: str, one: Server, at: float) -> None:
        """Plan a fault of a server; a room adds its own, or has some strike otherwise."""
        world = self.world
        match what:
            case "crash":
                world.after(at, self.crash, one, world.random.randint(1, 12))
            case "cut":
                world.after(at, self.cut, one)
            case "freeze":
                world.after(at, self.freeze, one)
            case "drain":
                world.after(at, lambda: one.step(one.drain))
            case _:
                raise LookupError(what)

    def befell(self, one: Party) -> None:
        """Note that a fault strikes somebody now, for rules that ask how much there was."""

    def returns(self, one: Server) -> Callable[[], None]:
        """Draw how somebody who has died comes back."""
        return one.start

    def once(self, fault: Callable[[], None]) -> Callable[[], None]:
        """Make a fault that strikes at one of the next times it is called, and no other."""
        left = self.world.random.randint(1, 3)

        def strike() -> None:
            nonlocal left
            left -= 1
            if not left:
                fault()

        return strike

    def crash(self, one: Server, effect: int) -> None:
        """Let a server die before one of its next effects, and come back."""
        chance = self.world.random
        away = chance.choice((0.5, 5.0, 40.0)) * (0.5 + chance.random()) / self.SOONER
        back = self.returns(one)
        if one.alive:
            one.crash_at = one.effects + effect
            one.after_crash = partial(self.world.after, away, back)

    def cut(self, one: Party) -> None:
        """Lose a connection, at once or silently."""
        connection, chance = one.link.connection, self.world.random
        if connection is not None:
            self.befell(one)
            silent = chance.random() < 0.5  # noqa: PLR2004
            client, broker = (15.0 * chance.random(), 15.0 * chance.random()) if silent else (0, 0)
            connection.lose(at_client=client, at_broker=broker)

    def freeze(self, one: Party) -> None:
        """Let somebody stand still, for longer than the broker believes in it or not."""
        self.befell(one)
        chance = self.world.random
        one.freeze(chance.choice((1.0, 8.0, 30.0)) * chance.random())
