"""``gatherscatter watch``: what happens in a lab, as it happens.

Events come by themselves; what no event tells (a hold, who is awaited, a gatherer that is gone)
is asked for every two seconds and told when it changed.
"""

import time
from collections.abc import Iterator
from datetime import datetime

import click

from pytest_gatherscatter.cli.lab import facts_of
from pytest_gatherscatter.cli.option import Asked, examples, lab_options, need_url
from pytest_gatherscatter.cli.output import say, say_json
from pytest_gatherscatter.cli.stop import SLICE, Stop
from pytest_gatherscatter.sections.service.asker import Asker
from pytest_gatherscatter.slips.finished import attempt_end, step_title
from pytest_gatherscatter.slips.slip import halted_by
from pytest_gatherscatter.wire.grading import GradeAnswer
from pytest_gatherscatter.wire.messages import (
    AgentJoined,
    AgentLeft,
    AskStatus,
    GathererStarted,
    LabStatus,
    Message,
    SectionAborted,
    SectionChanged,
    SectionGo,
    SectionStopped,
    StepFinished,
    StepProgressed,
)
from pytest_gatherscatter.wire.slips import SlipOver, SlipStepBegun, SlipStepEnded, SlipStepMoved
from pytest_gatherscatter.wire.testfiles import JobFinished

ASK = 2.0
"""Seconds between two looks at what no event tells: the pace of a person who watches."""

SILENT = 3 * ASK
"""Seconds without an answer after which the gatherer is told to be silent."""


@click.command(
    epilog=examples(
        "gatherscatter watch",
        "gatherscatter watch --json | jq -r 'select(.kind == \"SectionGo\").t0'",
    )
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@lab_options
def watch(asked: Asked, *, as_json: bool) -> int:
    """Follow a lab live: agents, sections, holds, the gatherer itself. Ctrl-C ends it."""
    settings = asked.settings()
    with Asker(settings, need_url(settings), events=("#",), reconnect=True) as asker:
        stop = Stop()
        watcher = Watcher(asker)
        while not stop():
            for kind, line, facts in watcher.turn(SLICE):
                if as_json:
                    say_json({"at": time.time(), "kind": kind, **facts})
                else:
                    clock = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
                    say(f"{clock} {line}")
    return stop.exit_status


Told = tuple[str, str, dict[str, object]]
"""What happened: its kind, a line for people, its facts for programs."""


class Watcher:
    """Turns events and the differences between two looks into what there is to tell."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._question = 0
        self._ask_at = 0.0
        self._answered = time.monotonic()
        self._present: bool | None = None
        self._connected = True
        self._standing: dict[str, str] = {}

    def turn(self, timeout: float) -> Iterator[Told]:
        """Wait at most ``timeout`` seconds, and tell what happened."""
        now = time.monotonic()
        if now >= self._ask_at and self._asker.down is None:
            self._question = self._asker.send(AskStatus())
            self._ask_at = now + ASK
        heard = self._asker.listen(timeout)
        yield from self._connection()
        for message in heard:
            if isinstance(message, LabStatus):
                yield from self._status(message)
            else:
                yield type(message).__name__, line_of(message), facts_of(message)
        yield from self._presence()

    def _connection(self) -> Iterator[Told]:
        connected = self._asker.down is None
        if connected != self._connected:
            self._connected = connected
            if connected:
                self._ask_at, self._answered = 0.0, time.monotonic()
                yield "BrokerBack", "the broker is back", {}
            else:
                reason = self._asker.down or ""
                yield "BrokerLost", f"the broker is lost: {reason}", {"reason": reason}

    def _presence(self) -> Iterator[Told]:
        if not self._connected or self._present is False:
            return
        if self._asker.unheard(self._question):
            self._present = False
            yield "GathererAbsent", "there is no gatherer", {}
        elif time.monotonic() - self._answered > SILENT:
            self._present = False
            yield "GathererSilent", "the gatherer does not answer", {}

    def _status(self, lab: LabStatus) -> Iterator[Told]:
        """Tell what changed between this look and the last one."""
        self._answered = time.monotonic()
        if not self._present:
            self._present = True
            names = ", ".join(agent.agent for agent in lab.agents) or "nobody"
            line = f"gatherer {lab.host}:{lab.pid}, here: {names}, sections: {len(lab.sections)}"
            yield "LabStatus", line, facts_of(lab)
        standing = standing_of(lab)
        for what, line in standing.items():
            if self._standing.get(what) != line:
                yield "Standing", line, {"what": what, "text": line}
        for what in self._standing.keys() - standing.keys():
            yield "Standing", f"{what}: no more", {"what": what, "text": ""}
        self._standing = standing


def standing_of(lab: LabStatus) -> dict[str, str]:
    """Say what no event tells, a line each by what it is about; texts that count are left out."""
    lines: dict[str, str] = {}
    for bench in lab.benches:
        for hold in bench.holds:
            what = f"hold of bench {bench.bench} by {hold.agent}"
            lines[what] = what + (f": {hold.reason}" if hold.reason else "")
    for section in lab.sections:
        for hold in section.holds:
            what = f"hold of {section.name} by {hold.agent}"
            lines[what] = what + (f": {hold.reason}" if hold.reason else "")
        if section.awaited:
            what = f"{section.name} on {section.bench}"
            lines[what] = f"{what} waits for {', '.join(section.awaited)}"
        if section.overdue:
            what = f"{section.name} of {section.owner}"
            lines[what] = f"{what} is overdue; bench {section.bench} stays closed"
    return lines


def line_of(message: Message) -> str:  # noqa: C901, PLR0911 - one for each kind
    """Say an event in a line."""
    match message:
        case GathererStarted():
            return "the gatherer started"
        case AgentJoined():
            return f"{message.agent} joined for {', '.join(message.benches)}"
        case AgentLeft():
            return f"{message.agent} left" + (f": {message.reason}" if message.reason else "")
        case SectionChanged():
            text = f": {message.text}" if message.text else ""
            return f"{message.name} on {message.bench} is {message.state}{text}"
        case SectionGo():
            ahead = (message.t0 - message.sent) * 1000
            members = ", ".join(message.members) or "nobody"
            return f"go on {message.bench} in {ahead:.0f} ms: {members} (token {message.token})"
        case SectionStopped():
            return f"stop on {message.bench} (token {message.token})"
        case SectionAborted():
            text = f": {message.text}" if message.text else ""
            return f"abort on {message.bench}, {message.cause}{text}"
        case StepProgressed():
            return f"{_step(message)}: {_amount(message)}"
        case SlipStepBegun() | SlipStepMoved() | SlipStepEnded() | SlipOver():
            return _slip_line(message)
        case GradeAnswer() | JobFinished():
            return _end_line(message)
        case StepFinished():
            text = f": {message.text}" if message.text else ""
            took = f"{message.outcome} after {message.seconds:.2f} s"
            return f"{_step(message)}: {took}{text}"
        case _:
            return type(message).__name__


def _step(message: StepProgressed | StepFinished) -> str:
    return f"step {message.number} {message.step!r} of {message.test}"


def _amount(message: StepProgressed) -> str:
    """Say how far a step is."""
    if not message.done and not message.text:
        return "begun"
    total = "" if message.total is None else f" of {message.total:g}"
    return f"{message.done:g}{total}" + (f": {message.text}" if message.text else "")


def _grade_line(answer: GradeAnswer) -> str:
    """Say how a request to a grader ended."""
    how: str = answer.outcome
    if how == "graded":
        how = "passed" if answer.passed else "not passed"
    text = f": {answer.text}" if answer.text else ""
    return f"grade of queue {answer.queue}: {how} after {answer.took:.2f} s{text}"


def _end_line(message: GradeAnswer | JobFinished) -> str:
    """Say how a request to a grader, or a run of test files, ended."""
    if isinstance(message, GradeAnswer):
        return _grade_line(message)
    words = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "unrun")
    counts = [(getattr(message, word), word) for word in words]
    told = ", ".join(f"{number} {word}" for number, word in counts if number) or "no tests"
    text = f": {message.text}" if message.text else ""
    return f"job of {message.originator}: {told} in {message.seconds:.2f} s{text}"


def _slip_line(message: SlipStepBegun | SlipStepMoved | SlipStepEnded | SlipOver) -> str:
    """Say where a slip is; a step that moves is known by the slip's id alone."""
    match message:
        case SlipStepBegun(task=task):
            undoing = "undoing " if task.compensating else ""
            what = f"{undoing}step {task.number}, {message.process} {message.command}"
            again = f", attempt {task.attempt}" if task.attempt > 1 else ""
            return f"slip {message.name}: {what}{again} begins on {message.host}"
        case SlipStepMoved(task=task):
            text = f" {message.text}" if message.text else ""
            return f"slip {message.slip}: step {task.number} is at {message.share:.0%}{text}"
        case SlipStepEnded(attempt=one):
            undoing = "undoing " if one.compensating else ""
            return f"slip {message.name}: {undoing}step {one.number} {attempt_end(one)}"
        case SlipOver(slip=slip):
            cause = halted_by(slip)
            why = f": {step_title(slip, cause.number)}: {cause.status}" if cause else ""
            return f"slip {slip.name} is over, {message.outcome}{why}"
