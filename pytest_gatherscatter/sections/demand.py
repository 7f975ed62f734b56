"""What a section asks for, and what people see while it waits for it. Pure values."""

from dataclasses import dataclass
from typing import Any, Literal

from pytest_gatherscatter.errors import NoGatherer, NotGathered, SectionFailed
from pytest_gatherscatter.settings import NoGatherer as NoGathererPolicy
from pytest_gatherscatter.settings import NotGathered as NotGatheredPolicy
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.wire.messages import EnterSection, Hold
from pytest_gatherscatter.wire.names import check_name

LABEL = 512
"""Characters of a label on the wire: a longer node id is cut for others to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one section asks for; ``Demand.of`` fills in what the settings say.

    ``max_skew`` and all waits are in seconds. ``quiet="strict"`` fails when others in the
    process keep sockets or threads open during the section, and not only when we do.

    Raises:
        SettingsInvalid: the bench or a required agent has a name that none can have.
    """

    name: str
    bench: str
    test: str
    require: frozenset[str] = frozenset()
    min_monitors: int = 0
    max_skew: float | None = None
    max_duration: float = 300.0
    no_gatherer: NoGathererPolicy | None = None
    not_gathered: NotGatheredPolicy = "fail"
    quiet: Literal["report", "strict"] = "report"
    handshake_timeout: float = 2.0
    queue_timeout: float = 3600.0
    gather_timeout: float = 60.0
    hold_limit: float = 900.0
    report_timeout: float = 30.0

    def __post_init__(self) -> None:
        """Refuse names here that the gatherer could not read: it would seem not to answer."""
        check_name("bench", self.bench)
        for agent in self.require:
            check_name("agent", agent)

    @classmethod
    def of(cls, settings: Settings, *, name: str, test: str, **given: Any) -> "Demand":  # noqa: ANN401 - keywords of many types, each checked by the dataclass's reader
        """Make a demand out of the settings, with ``given`` fields on top.

        ``require`` is the union of both; of everything else the given one wins. A value of
        ``None`` counts as not given.
        """
        given = {key: value for key, value in given.items() if value is not None}
        require = settings.require | frozenset(given.pop("require", ()))
        waits = {
            wait: getattr(settings, wait)
            for wait in (
                "bench",
                "handshake_timeout",
                "queue_timeout",
                "gather_timeout",
                "hold_limit",
                "max_duration",
                "report_timeout",
                "no_gatherer",
                "not_gathered",
            )
        }
        return cls(**{**waits, "name": name, "test": test, "require": require, **given})

    @property
    def demanding(self) -> bool:
        """Whether it asks for something that only a gatherer and monitors can give."""
        return bool(self.require) or self.min_monitors > 0 or self.max_skew is not None

    def question(self, section: str, *, owner: str, run: str, token: int) -> EnterSection:
        """Ask to enter ``section``; ``token`` is the highest that this host has on record."""
        return EnterSection(
            section=section,
            name=self.name[:LABEL],
            bench=self.bench,
            test=self.test[:LABEL],
            owner=owner[:LABEL],
            run=run,
            require=tuple(sorted(self.require)),
            min_monitors=self.min_monitors,
            max_duration=self.max_duration,
            queue_timeout=self.queue_timeout,
            gather_timeout=self.gather_timeout,
            hold_limit=self.hold_limit,
            report_timeout=self.report_timeout,
            token=token,
        )

    def skips(self, error: SectionFailed) -> bool:
        """Say whether the policies turn ``error`` into a skip.

        A veto and a broken hook are never skipped: somebody said no, that is news.
        """
        if isinstance(error, NoGatherer):
            return self.no_gatherer == "skip"
        return type(error) is NotGathered and self.not_gathered == "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """For whom a section waits, as shown to people while it does.

    ``state`` is ``connecting``, ``queued``, ``gathering``, ``locked`` (the bench's lock file on
    this host) or ``reporting``. ``waited`` and ``left`` are seconds.
    """

    section: str
    name: str
    bench: str
    state: str
    awaited: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    waited: float = 0.0
    left: float = 0.0

    @property
    def lines(self) -> tuple[str, ...]:
        """Say it in words, a line for each cause: ``waiting for scope (3 s of 60 s)``."""
        lines = [
            f"{hold.agent} holds{span_of(hold)}: {hold.reason or 'no reason given'}"
            for hold in self.holds
        ]
        holders = {hold.agent for hold in self.holds}
        awaited = ", ".join(agent for agent in self.awaited if agent not in holders)
        span = f"({self.waited:.0f} s of {self.waited + self.left:.0f} s)"
        match self.state:
            case "queued":
                behind = f" behind {awaited}" if awaited else ""
                lines.append(f"queued for bench {self.bench}{behind} {span}")
            case "locked":
                owner = awaited or "another process"
                lines.append(f"waiting for bench {self.bench} on this host: {owner} {span}")
            case "connecting":
                lines.append(f"waiting for the broker {span}")
            case "reporting":
                lines.append(f"waiting for {awaited or 'the reports'} {span}")
            case _ if awaited or not lines:
                lines.append(f"waiting for {awaited or 'the gatherer'} {span}")
        return tuple(lines)


def span_of(hold: Hold) -> str:
    """Say how long a hold is meant to last, with a space before it; nothing if nobody knows."""
    return f" {hold.seconds:.0f} s" if hold.seconds else ""
