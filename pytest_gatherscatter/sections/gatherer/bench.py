"""A bench: what sections exclude each other on. Pure data and its rules."""

from dataclasses import dataclass, field

from pytest_gatherscatter.wire.messages import BenchStatus, Hold


@dataclass(slots=True)
class PersonHold:
    """A person's hold on a bench; it lasts until ``until`` unless renewed.

    ``reply`` is the key of its holder, who is told if somebody else ends it.
    """

    id: str
    holder: str
    reason: str
    since: float
    until: float
    reply: str | None = None


@dataclass(slots=True)
class Bench:
    """Who is in, who waits (first come first served), and which persons hold it."""

    name: str
    current: str | None = None
    queue: list[str] = field(default_factory=list)
    holds: dict[str, PersonHold] = field(default_factory=dict)
    token: int = 0

    @property
    def idle(self) -> bool:
        """Whether nobody has it, waits for it or holds it."""
        return self.current is None and not self.queue and not self.holds

    def held(self, *, now: float) -> tuple[Hold, ...]:
        """Return the persons' holds that have not run out.

        ``until`` is no end that anybody could wait for: a hold is renewed for as long as its
        holder is there.
        """
        return tuple(
            Hold(agent=h.holder, seconds=0.0, reason=h.reason)
            for h in self.holds.values()
            if h.until > now
        )

    def expire(self, *, now: float) -> bool:
        """Drop the holds that ran out; say whether there were any."""
        over = [hold.id for hold in self.holds.values() if hold.until <= now]
        for hold in over:
            del self.holds[hold]
        return bool(over)

    def status(self, *, now: float) -> BenchStatus:
        """Show it to whoever asks."""
        return BenchStatus(
            bench=self.name,
            current=self.current or "",
            queued=tuple(self.queue),
            holds=self.held(now=now),
            token=self.token,
        )
