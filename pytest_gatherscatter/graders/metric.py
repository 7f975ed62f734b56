"""How an examiner stands, as Prometheus reads it: its text format, version 0.0.4."""

from collections.abc import Iterator

from pytest_gatherscatter.wire.grading import ExaminerSeen, GraderSeen

GAUGES = (
    ("threads", "Threads of the grader."),
    ("busy", "Threads that grade."),
    ("overdue", "Threads that grade what was answered as timed out."),
    ("waiting", "Requests in hand that wait for a thread."),
)
COUNTERS = (
    ("graded", "Requests that were graded."),
    ("failed", "Requests that ended without a grade."),
    ("slow", "Gradings that took longer than slow."),
    ("seconds", "Seconds that threads have graded."),
)
"""Fields of a grader, as :class:`GraderSeen` has them."""


def exposition(seen: ExaminerSeen) -> str:
    """Write it down: a line for each grader and figure."""
    return "".join(f"{line}\n" for line in _lines(seen))


def _lines(seen: ExaminerSeen) -> Iterator[str]:
    for kind, figures, end in (("gauge", GAUGES, ""), ("counter", COUNTERS, "_total")):
        for field, text in figures:
            name = f"gatherscatter_grader_{field}{end}"
            yield f"# HELP {name} {text}"
            yield f"# TYPE {name} {kind}"
            for one in seen.graders:
                yield f"{name}{_labels(seen, one)} {getattr(one, field):.17g}"
    yield "# HELP gatherscatter_examiner_up_seconds How long it runs."
    yield "# TYPE gatherscatter_examiner_up_seconds gauge"
    # A name is letters, digits, '_' and '-': nothing in it has to be quoted.
    yield f'gatherscatter_examiner_up_seconds{{examiner="{seen.examiner}"}} {seen.up:.17g}'


def _labels(seen: ExaminerSeen, grader: GraderSeen) -> str:
    return f'{{examiner="{seen.examiner}",grader="{grader.name}"}}'
