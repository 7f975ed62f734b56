"""The whole error tree: each error names a fact, and carries the facts as attributes.

Everything that this package raises on purpose is a :class:`GatherScatterError`; its text is
one line that names the cause and, where there is one, the cure. The command line prints
that line and exits with :attr:`GatherScatterError.exit_code`; pytest shows it without a
traceback.
"""

from typing import ClassVar


class GatherScatterError(Exception):
    """Anything that went wrong in this package's own field.

    ``fault`` tells whose it is: ``DUT``, the device under test, did something that a monitor
    found wrong, or did not return in time; ``LAB`` is everything around it.
    """

    exit_code: ClassVar[int] = 1
    fault: ClassVar[str] = "LAB"

    @property
    def told(self) -> str:
        """The error in a line that begins with whose fault it is: ``LAB: …`` or ``DUT: …``."""
        return f"{self.fault}: {self}"


# What the user wrote


class SettingsInvalid(GatherScatterError):
    """A setting, option, name or file says something that is not allowed."""

    exit_code = 2

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


# The broker


class BrokerError(GatherScatterError):
    """Something about the broker; ``url`` never holds a password."""

    exit_code = 2


class BrokerUnreachable(BrokerError):
    """Nothing answered at the broker's address within the time allowed."""

    exit_code = 69

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no broker at {url}: {reason}")
        self.url = url
        self.reason = reason


class LoginRefused(BrokerError):
    """The broker is there, and this URL cannot log in: user, password, vhost or TLS is wrong.

    ``what`` says in a few words what does not work.
    """

    def __init__(self, url: str, reason: str, what: str = "refuses the login") -> None:
        super().__init__(f"{url} {what}: {reason}")
        self.url = url
        self.reason = reason


class BrokerRefused(BrokerError):
    """The broker refuses an operation, and would refuse it again."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the broker refuses: {code} {text}")
        self.code = code
        self.text = text


class NameTaken(BrokerRefused):
    """Somebody else owns the exclusive queue of this name (405 RESOURCE_LOCKED)."""


class BrokerLost(BrokerError):
    """The connection went away and did not come back within the time allowed."""

    exit_code = 69


# The wire


class MessageUnreadable(GatherScatterError):
    """A message that cannot be decoded; ``reason`` goes with it to the dead letters."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"unreadable message: {reason}")
        self.reason = reason


# Machines


class IllegalTransition(GatherScatterError):
    """A machine was asked for a step that its transition table does not have."""

    def __init__(self, what: str, start: str, finish: str, story: tuple[str, ...]) -> None:
        tail = "; ".join(story) or "nothing yet"
        super().__init__(f"{what} cannot go from {start} to {finish} (recently: {tail})")
        self.what = what
        self.start = start
        self.finish = finish
        self.story = story


class JournalDamaged(GatherScatterError):
    """A journal holds something other than a torn last record."""

    exit_code = 2

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(
            f"{path}: line {line} is damaged ({problem}); move the file away to start afresh"
        )
        self.path = path
        self.line = line
        self.problem = problem


class JournalTaken(GatherScatterError):
    """Another process has the journal open: two gatherers cannot share a state directory."""

    exit_code = 2

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(f"{path} is in use by {owner}; end it, or use another state directory")
        self.path = path
        self.owner = owner


class JournalUnwritable(GatherScatterError):
    """An event could not be made durable, so nothing may be built upon it."""

    exit_code = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}")
        self.path = path
        self.reason = reason


# Sections


class GathererPresent(GatherScatterError):
    """The lab has a gatherer already, and it answers."""

    def __init__(self, lab: str, who: str) -> None:
        super().__init__(
            f"lab {lab!r} has a gatherer already ({who}); end that one, or use another --lab"
        )
        self.lab = lab
        self.who = who


class AgentPresent(GatherScatterError):
    """An agent of this name is alive in the lab; names are unique in one."""

    def __init__(self, name: str, lab: str, who: str) -> None:
        super().__init__(
            f"lab {lab!r} has an agent {name!r} already ({who}); end that one, or take another name"
        )
        self.name = name
        self.lab = lab
        self.who = who


class SectionFailed(GatherScatterError):
    """A section could not do its work; ``cause`` is the stable word that reports carry."""

    cause: ClassVar[str] = "failed"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class NoGatherer(SectionFailed):
    """Nobody coordinates, and the section has demands or the policy says fail."""

    exit_code = 69
    cause = "no-gatherer"


class NotGathered(SectionFailed):
    """A required agent is missing, the bench stayed busy, a monitor held for too long."""

    exit_code = 75
    cause = "not-gathered"


class SectionVetoed(NotGathered):
    """A monitor said no."""

    cause = "vetoed"


class MonitorBroken(NotGathered):
    """A monitor's hook broke before the start."""

    cause = "broken"


class SectionUnmeasured(SectionFailed):
    """A required monitor did not report, or fewer monitors than demanded took part."""

    cause = "unmeasured"


class SectionOverdue(SectionFailed):
    """The section ran past its ``max_duration``; the monitors made safe."""

    cause = "overdue"
    fault = "DUT"


class SectionUnreported(SectionFailed):
    """The body ran, but the gatherer could not be told or never answered."""

    cause = "unreported"


class FindingFailed(SectionFailed):
    """A monitor measured something that is out of bounds: the device's fault, not the lab's."""

    cause = "finding"
    fault = "DUT"


class SkewExceeded(SectionFailed):
    """The measured skew and its bound pass ``max_skew``."""

    cause = "skew"


class SectionNoisy(SectionFailed):
    """Sockets or threads were open in the section that should have been quiet."""

    cause = "noisy"


class SectionMisused(GatherScatterError):
    """The test uses a section in a way that cannot mean anything (nested, marked twice, …)."""

    exit_code = 2


class NotMeasured(SectionMisused, KeyError):
    """The test asks for a figure that nobody measured; also a ``KeyError``, for mappings."""

    def __str__(self) -> str:
        """Show the line as it is: a ``KeyError`` would put it in quotes."""
        return str(self.args[0])


# Test files


class SourceRefused(GatherScatterError):
    """A listener does not fetch files from where a job says; the text says what is allowed."""


class SyncFailed(GatherScatterError):
    """The files of a job did not come into the workspace; the text says what the command said.

    ``stdout`` and ``stderr`` are its last output.
    """

    def __init__(self, text: str, stdout: str = "", stderr: str = "") -> None:
        super().__init__(text)
        self.stdout = stdout
        self.stderr = stderr


class CallbackFailed(SyncFailed):
    """A job's callback raised, ended its process, or took too long."""


class WorkspaceTaken(GatherScatterError):
    """There is no workspace to be had: others use it, or it belongs to somebody else."""


# Slips


class SlipRefused(GatherScatterError):
    """A processor would not run a step of a slip as it is; nothing of it was begun."""

    exit_code = 2


class SlipLost(GatherScatterError):
    """Nobody has said in time how a slip ended; it may still be on its way."""

    exit_code = 75


# Records


class DatabaseFailed(GatherScatterError):
    """A database cannot be reached, read or written; ``name`` is its URL without the password."""

    exit_code = 75

    def __init__(self, name: str, reason: str, text: str = "") -> None:
        super().__init__(f"database {name}: {reason}{text}")
        self.name = name
        self.reason = reason


# Graders


class GraderFailed(GatherScatterError):
    """A grader broke: its program, its server or its answer; the text says how."""


class GraderKilled(GraderFailed):
    """A grader's program was killed by a signal that was not ours: it is tried elsewhere."""


class GradingEnded(GraderFailed):
    """A grading was ended since its examiner ends; the request is given back."""


class GradingTimedOut(GatherScatterError):
    """A grading took longer than it may."""


class RequestInvalid(GatherScatterError):
    """What was to be graded cannot be sent: it is no JSON, or too large."""

    exit_code = 2


class NotGraded(GatherScatterError):
    """A request ended without a grade; ``outcome`` is how: ``failed``, ``expired`` and the like."""

    exit_code = 75

    def __init__(self, text: str, outcome: str) -> None:
        super().__init__(text)
        self.outcome = outcome


class GradeFailed(GatherScatterError):
    """A grader found that it does not pass: the fault of what was judged."""

    fault = "DUT"
