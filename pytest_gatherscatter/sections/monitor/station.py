"""What a monitor knows at this moment: its sections, the tokens it has seen, its place in the lab.

The parts of the machine share it, and keep its books through it.
"""

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.monitor.arming import (
    ENDED,
    INSIDE,
    UNCOMMITTED,
    Arming,
    ArmingState,
)
from pytest_gatherscatter.sections.monitor.hookline import HookLine
from pytest_gatherscatter.sections.monitor.presence import Presence
from pytest_gatherscatter.sections.monitor.voice import Identity, Voice
from pytest_gatherscatter.wire.messages import JoinLab, OpenSection

KEPT = 32
"""Ended sections on record, for late repetitions: a gatherer repeats only its latest."""

MOST_OPEN = 256
"""Open sections that a greeting can bear."""


def former_key(section: str, token: int) -> str:
    """Name a section on record whose id has begun anew under a higher token."""
    return f"{section} {token}"


class Station:
    """The memory of one monitor, with its mouth (``voice``) and its hands (``hooks``)."""

    def __init__(self, identity: Identity, *, hook_timeout: float) -> None:
        self.identity = identity
        self.out = Effects()
        self.presence = Presence(self.out, identity.name, self.greeting, clock=identity.clock)
        self.voice = Voice(self.out, identity, self.presence)
        self.hooks = HookLine(self.out, hook_timeout)
        self.armings: dict[str, Arming] = {}
        self.tokens: dict[str, int] = {}
        """The highest token seen on each bench."""
        self.draining = False
        """Nothing new is taken: it leaves the lab."""

    def open(self) -> list[Arming]:
        """Return the sections that have not come to their end here."""
        return [arming for arming in self.armings.values() if arming.life.state not in ENDED]

    def find(self, section: str, token: int) -> Arming | None:
        """Return the section of this very token: the latest of its id, or a former one."""
        for key in (section, former_key(section, token)):
            arming = self.armings.get(key)
            if arming is not None and arming.info.token == token:
                return arming
        return None

    def to(self, arming: Arming, state: ArmingState, now: float, *, why: str = "") -> None:
        """Take a section along its table, and note it in the log."""
        arming.life.to(state, now=now, why=why)
        facts = {"section": arming.info.id, "name": arming.info.name, "bench": arming.info.bench}
        self.out.record(state.value, **facts, why=why)

    def forget(self) -> None:
        """Forget what ended long ago."""
        ended = [id_ for id_, arming in self.armings.items() if arming.state in ENDED]
        for id_ in ended[:-KEPT]:
            del self.armings[id_]

    def greeting(self, bound: float | None) -> JoinLab:
        """Make the greeting as it is to be said now; ``bound`` is how well the clock is known."""
        me = self.identity
        return JoinLab(
            agent=me.name,
            instance=me.instance,
            benches=me.benches,
            host=me.host,
            pid=me.pid,
            advisory=me.advisory,
            token=max(self.tokens.values(), default=0),
            bound=bound,
            open=tuple(self._open_section(arming) for arming in self.open())[-MOST_OPEN:],
        )

    def _open_section(self, arming: Arming) -> OpenSection:
        info = arming.info
        started = arming.state not in UNCOMMITTED
        if self.presence.gatherer is not None or arming.state not in INSIDE:
            return OpenSection(section=info.id, token=info.token, started=started)
        return OpenSection(
            section=info.id,
            token=info.token,
            started=started,
            go=arming.go,
            name=info.name,
            test=info.test,
            owner=info.owner,
        )
