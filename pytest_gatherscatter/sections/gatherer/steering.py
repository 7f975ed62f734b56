"""What people see and steer: status, holds of a bench, resets."""

import math
from collections.abc import Iterator

from pytest_gatherscatter.machine import Received
from pytest_gatherscatter.sections.gatherer.abridgement import fitting
from pytest_gatherscatter.sections.gatherer.bench import PersonHold
from pytest_gatherscatter.sections.gatherer.ending import Ending
from pytest_gatherscatter.sections.gatherer.gathering import Gathering
from pytest_gatherscatter.sections.gatherer.lab import KEPT, MOST_HOLDS, Lab
from pytest_gatherscatter.sections.gatherer.result import RECENT, shown
from pytest_gatherscatter.sections.gatherer.state import ENDED, INSIDE, SectionState
from pytest_gatherscatter.wire import messages as m


class Steering:
    """Answers to the command line."""

    def __init__(self, lab: Lab, gathering: Gathering, ending: Ending) -> None:
        self.lab = lab
        self.gathering = gathering
        self.ending = ending
        self._given_up: dict[str, tuple[float, str]] = {}
        """Holds that were reset: when, and by whom. Their holders may not know it yet."""

    def status(self, _: m.AskStatus, received: Received, now: float) -> None:
        """Show everything."""
        lab = self.lab
        if received.reply_to is None:
            return
        stale_after = lab.facts.stale_after
        status = m.LabStatus(
            gatherer=lab.facts.clock,
            host=lab.facts.host,
            pid=lab.facts.pid,
            version=lab.facts.version,
            uptime=max(0.0, now - lab.started),
            required=tuple(sorted(lab.facts.required)),
            agents=lab.roster.status(lab.doing, now=now),
            benches=tuple(lab.benches[name].status(now=now) for name in sorted(lab.benches)),
            sections=tuple(
                section.status(now=now, stale_after=stale_after)
                for section in lab.sections.values()
                if section.state not in ENDED
            ),
            ended=tuple(shown(section, now=now) for section in lab.ended_last(RECENT)),
            lead=lab.lead.seconds(),
            unreadable=lab.unreadable,
        )
        lab.out.send(received.reply_to, fitting(status))

    def deadlines(self) -> Iterator[float]:
        """Say when the holds run out."""
        return (h.until for bench in self.lab.benches.values() for h in bench.holds.values())

    def hold(self, message: m.HoldBench, received: Received, now: float) -> None:
        """Keep a bench closed for a person, or keep it closed longer.

        Not one that was reset: its holder renews it until it is told, and would close the
        bench again that somebody has just opened.
        """
        lab = self.lab
        at, by = self._given_up.get(message.hold, (-math.inf, ""))
        if now - at < KEPT:
            if received.reply_to is not None:
                lab.out.send(received.reply_to, m.HoldEnded(hold=message.hold, text=by))
            return
        bench = lab.bench(message.bench)
        known = bench.holds.get(message.hold)
        if known is None and sum(len(one.holds) for one in lab.benches.values()) >= MOST_HOLDS:
            return  # without an answer nobody takes the bench for held
        bench.holds[message.hold] = PersonHold(
            message.hold,
            message.holder,
            message.reason,
            since=known.since if known else now,
            until=now + message.seconds,
            reply=received.reply_to,
        )
        lab.at(now + message.seconds)
        current = lab.current(bench)
        if current is not None and current.state is SectionState.GATHERED:
            self.gathering.again(current, f"{message.holder} holds the bench", now=now)
        if received.reply_to is not None:
            live = lab.whose(current) if current and current.state in INSIDE else ""
            lab.out.send(received.reply_to, m.BenchHeld(hold=message.hold, live=live))

    def release(self, message: m.ReleaseBench, _: Received, now: float) -> None:  # noqa: ARG002
        """Let go of a bench."""
        for bench in self.lab.benches.values():
            if bench.holds.pop(message.hold, None) is not None:
                self.lab.touched.add(bench.name)

    def look(self, *, now: float) -> None:
        """Drop the holds that nobody renewed."""
        for bench in self.lab.benches.values():
            if bench.expire(now=now):
                self.lab.touched.add(bench.name)

    def reset(self, message: m.ResetLab, received: Received, now: float) -> None:
        """Give up what a person says should be given up, and say what that was."""
        lab = self.lab
        lines = []
        by = f"reset by {message.who or 'somebody'}"
        for section in list(lab.sections.values()):
            named = section.id == message.section or section.bench == message.bench
            if section.state in ENDED or not (message.everything or named):
                continue
            lines.append(f"section {lab.whose(section)}: was {section.state.value}")
            if section.state is SectionState.COLLECTING:
                section.cause, section.text = "reset", by
                section.lost.update(dict.fromkeys(section.unreported(), by))
                lab.touched.add(section.bench)
            else:
                self.ending.abort(section, "reset", by, now=now)
        for bench in lab.benches.values():
            if message.everything or bench.name == message.bench:
                for hold in bench.holds.values():
                    lines.append(f"hold of {hold.holder} on bench {bench.name}")
                    self._end(hold, by, now)
                bench.holds.clear()
                lab.touched.add(bench.name)
        if received.reply_to is not None:
            lab.out.send(received.reply_to, m.ResetDone(lines=tuple(lines)))

    def _end(self, hold: PersonHold, by: str, now: float) -> None:
        """Tell a holder that its hold was given up, and keep that in mind."""
        while len(self._given_up) >= MOST_HOLDS:  # the oldest stands first
            del self._given_up[next(iter(self._given_up))]
        self._given_up[hold.id] = (now, by)
        if hold.reply is not None:
            self.lab.out.send(hold.reply, m.HoldEnded(hold=hold.id, text=by))
