"""Critical sections for hardware tests, coordinated over RabbitMQ.

One run, told once. A test is about to do something delicate. It asks the lab's *gatherer* for a
section; the gatherer asks every *monitor* of the bench to prepare, and each one arms, holds for
a moment, or vetoes. When all are ready the gatherer scatters *go* with an instant a little
ahead, and everybody starts at it. The test is quiet now, without a connection or thread of
ours, until it is done; then it comes back, tells how it went, and gets what the monitors
measured: findings that may fail it, and captures.

What test and monitor authors import is here. Each name is looked up when it is first used, so
that a run of pytest that uses none of it pays for none of it::

    from pytest_gatherscatter import Findings, Hold, Monitor, Veto

In tests there is nothing to import: mark them with ``@pytest.mark.critical_section``, or take
the fixtures ``critical_section``, ``gs_section``, ``gs_step``, ``gs_run_slip`` and ``gs_grade``.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gatherscatter.errors import (
        BrokerError,
        FindingFailed,
        GatherScatterError,
        GradeFailed,
        GraderFailed,
        GradingTimedOut,
        MonitorBroken,
        NoGatherer,
        NotGathered,
        NotGraded,
        NotMeasured,
        SectionFailed,
        SectionMisused,
        SectionOverdue,
        SectionUnmeasured,
        SectionUnreported,
        SectionVetoed,
        SettingsInvalid,
        SkewExceeded,
    )
    from pytest_gatherscatter.graders.given import GivenGrade
    from pytest_gatherscatter.graders.grader import Grade, Grader, GraderRequest
    from pytest_gatherscatter.plugin.grade import GradeRunner
    from pytest_gatherscatter.plugin.section import CriticalSection
    from pytest_gatherscatter.plugin.slip import SlipRunner
    from pytest_gatherscatter.plugin.step import Steps
    from pytest_gatherscatter.sections.hook import Findings, Hold, Monitor, SectionInfo, Veto
    from pytest_gatherscatter.sections.section import Report, Section
    from pytest_gatherscatter.slips.finished import FinishedSlip

__version__ = "0.1.0"

__all__ = [
    "BrokerError",
    "CriticalSection",
    "FindingFailed",
    "Findings",
    "FinishedSlip",
    "GatherScatterError",
    "GivenGrade",
    "Grade",
    "GradeFailed",
    "GradeRunner",
    "Grader",
    "GraderFailed",
    "GraderRequest",
    "GradingTimedOut",
    "Hold",
    "Monitor",
    "MonitorBroken",
    "NoGatherer",
    "NotGathered",
    "NotGraded",
    "NotMeasured",
    "Report",
    "Section",
    "SectionFailed",
    "SectionInfo",
    "SectionMisused",
    "SectionOverdue",
    "SectionUnmeasured",
    "SectionUnreported",
    "SectionVetoed",
    "SettingsInvalid",
    "SkewExceeded",
    "SlipRunner",
    "Steps",
    "Veto",
    "__version__",
]

_HOMES = {
    "CriticalSection": "plugin.section",
    "Findings": "sections.hook",
    "FinishedSlip": "slips.finished",
    "GivenGrade": "graders.given",
    "Grade": "graders.grader",
    "GradeRunner": "plugin.grade",
    "Grader": "graders.grader",
    "GraderRequest": "graders.grader",
    "Hold": "sections.hook",
    "Monitor": "sections.hook",
    "Report": "sections.section",
    "Section": "sections.section",
    "SectionInfo": "sections.hook",
    "SlipRunner": "plugin.slip",
    "Steps": "plugin.step",
    "Veto": "sections.hook",
}
"""Modules of the names that are no errors."""


def __getattr__(name: str) -> object:
    """Import what ``name`` stands for, once (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what can be imported from here."""
    return sorted(__all__)
