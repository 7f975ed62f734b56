"""Somebody in the lab who means no good, or runs a former version: says what is old or forged.

It may say anything that its rights allow, which is everything here, except what nobody could
tell from the real word: a Go that is forged in time, a leave with the live token.
"""

from collections.abc import Callable

import msgspec

from pytest_gatherscatter.embedded.record import Message
from pytest_gatherscatter.machine import Effect, Effects, Input, Told
from pytest_gatherscatter.simulation.network import Network
from pytest_gatherscatter.simulation.party import Party, reply_way
from pytest_gatherscatter.simulation.world import (
    BodyBegan,
    BodyLeft,
    Kind,
    Said,
    Sight,
    VirtualClock,
    VisitEnded,
    World,
)
from pytest_gatherscatter.wire import messages as m
from pytest_gatherscatter.wire.names import (
    GATHERER_KEY,
    agent_key,
    reply_key,
    section_event,
)

FLOOD = 40
"""Messages of a flood: enough to fill a prefetch, few enough to play."""

HIGHER = 1000
"""How far a forged token is ahead of all that were given out."""

KEPT = 100
"""Overheard messages that are kept to be said again."""

OVERHEARD = (
    m.LeaveSection,
    m.WorkloadReady,
    m.AgentReady,
    m.AgentAlive,
    m.AgentReport,
    m.SectionGo,
    m.SectionStopped,
    m.PrepareSection,
)


class _Mouth:
    """Says what it is told to say, to anybody."""

    def __init__(self, reply: str) -> None:
        self._effects = Effects()
        self._reply = reply_key(reply)

    def handle(self, message: Input, *, now: float) -> list[Effect]:  # noqa: ARG002
        match message:
            case Told((str(key), m.Message() as said)) if key.startswith("section."):
                self._effects.publish(key, said)
            case Told((str(key), m.Message() as said)):
                self._effects.send(key, said, reply_to=self._reply)
        return self._effects.take()


class Stranger(Party):
    """Its words are not shown to the rules, which know the lab's own ones by that."""

    kinds: frozenset[Kind] = frozenset(
        {*((Said, kind) for kind in OVERHEARD), BodyBegan, BodyLeft, VisitEnded}
    )

    def __init__(
        self,
        world: World,
        network: Network,
        clock: VirtualClock,
        benches: tuple[str, ...],
        agents: tuple[str, ...],
    ) -> None:
        super().__init__(world, network, "stranger", clock)
        self._benches = benches
        self._agents = agents
        self._overheard: list[tuple[str, m.Message]] = []
        self._inside: set[str] = set()
        self._over: set[str] = set()
        self._token = 0
        world.show(self)

    def see(self, sight: Sight) -> None:
        """Overhear what is said, and when its section is over."""
        match sight:
            case Said(key=key, message=message):
                self._overheard.append((key, message))
                self._token = max(self._token, getattr(message, "token", 0))
                del self._overheard[:-KEPT]
            case BodyBegan(section=section):
                self._inside.add(section)
                self._intrude()
            case BodyLeft(section=section):
                self._inside.discard(section)
            case VisitEnded(section=section):
                self._over.add(section)
            case _:
                pass

    def begin(self) -> None:
        """Connect."""
        reply = self.world.id()
        self.connect(reply_way(reply, None))
        self.pump = self.join(_Mouth(reply), reply)

    def trouble(self) -> None:
        """Make some trouble, as the seed draws it."""
        kinds: tuple[Callable[[], None], ...] = (
            self._repeat,
            self._repeat,
            self._second_go,
            self._unprepared_go,
            self._higher_token,
            self._ghost,
            self._stale_leave,
            self._stale_abort,
            self._late_report,
            self._flood,
        )
        self.step(self.world.random.choice(kinds))

    def _intrude(self) -> None:
        """Make trouble while somebody is inside, as often as not."""
        chance = self.world.random
        kind = chance.choice((self._second_go, self._stale_leave, self._stale_abort))
        if chance.random() < 0.5:  # noqa: PLR2004
            self.later(chance.random() * 0.5, kind)

    def _tell(self, key: str, message: m.Message) -> None:
        if self.pump is not None:
            self.world.tell(self.name, f"says {type(message).__name__} to {key}")
            self.pump.feed(Told((key, message)), now=self.now)

    def _say(self, said: Message) -> None:
        """Say it without a witness."""

    def _repeat(self) -> None:
        """Say something again about a section that is over."""
        old = [one for one in self._overheard if getattr(one[1], "section", "") in self._over]
        if old:
            self._tell(*self.world.random.choice(old))

    def _second_go(self) -> None:
        """Say another Go for a section whose body runs."""
        for key, message in self._overheard[::-1]:
            if isinstance(message, m.SectionGo) and message.section in self._inside:
                later = {"t0": message.t0 + 3.0, "deadline": message.deadline + 100.0}
                self._tell(key, self._changed(message, **later))
                return

    def _unprepared_go(self) -> None:
        """Say Go for a section of which nobody ever heard."""
        bench, now = self.world.random.choice(self._benches), self.now
        go = m.SectionGo(
            section=self.world.id() * 2,
            token=self._token + 1,
            bench=bench,
            gatherer=self.clock.name,
            members=self._agents,
            sent=now,
            t0=now + 0.01,
            deadline=now + 100.0,
        )
        self._tell(section_event("go", bench), go)

    def _higher_token(self) -> None:
        """Ask a monitor to arm for nobody, with a token above all others."""
        prepare = m.PrepareSection(
            section=self.world.id() * 2,
            token=self._token + HIGHER,
            bench=self.world.random.choice(self._benches),
            name="forged",
            test="forged",
            owner="stranger",
            required=True,
            max_duration=1.0,
            hold_limit=1.0,
        )
        self._tell(agent_key(self.world.random.choice(self._agents)), prepare)

    def _ghost(self) -> None:
        """Join an agent that does not exist, with a high token."""
        join = m.JoinLab(
            agent="ghost",
            instance=self.world.id(),
            benches=self._benches,
            token=self._token + HIGHER,
        )
        self._tell(GATHERER_KEY, join)

    def _stale_leave(self) -> None:
        """Leave a section that runs, with the token before its own."""
        for section in sorted(self._inside):
            tokens = [getattr(o, "token", 0) for _, o in self._overheard if _of(o) == section]
            token = max(0, min(tokens, default=1) - 1)
            self._tell(GATHERER_KEY, m.LeaveSection(section=section, token=token, outcome="died"))

    def _stale_abort(self) -> None:
        """Give up a section that runs, with the token before its own."""
        for _, message in self._overheard[::-1]:
            if isinstance(message, m.SectionGo) and message.section in self._inside:
                abort = m.SectionAborted(
                    section=message.section,
                    token=message.token - 1,
                    bench=message.bench,
                    cause=m.UNKNOWN,
                )
                self._tell(section_event("aborted", message.bench), abort)
                return

    def _late_report(self) -> None:
        """Report for a section that is over, with findings of one's own."""
        for _, message in self._overheard[::-1]:
            if isinstance(message, m.AgentReport) and message.section in self._over:
                forged = m.Finding(name="forged", value=1.0, unit="V", passed=False)
                self._tell(GATHERER_KEY, self._changed(message, findings=(forged,)))
                return

    def _flood(self) -> None:
        """Ask for everything, again and again."""
        self.world.tell(self.name, f"asks {FLOOD} times at once")
        for _ in range(FLOOD):
            if self.pump is not None:
                self.pump.feed(Told((GATHERER_KEY, m.AskStatus())), now=self.now)

    @staticmethod
    def _changed(message: m.Message, **facts: object) -> m.Message:
        return msgspec.structs.replace(message, **facts)


def _of(message: m.Message) -> str:
    """Name the section that a message is about."""
    section: str = getattr(message, "section", "")
    return section
