"""The gatherer: gathers everyone's readiness, then scatters *go* to all at once.

A machine: no I/O, no clock. ``machine.py`` says who handles what; ``state.py`` holds the
table by which a section lives. What is true of the lab stands in ``lab.py`` (with
``roster``, ``bench``, ``record`` and ``lead``); what happens to it in ``presence`` (joining
and vanishing), ``gathering`` (entering to gathered), ``commit`` (the last check and Go),
``ending`` (leaving, reports, giving up), ``steering`` (people) and ``recovery``.

Rules that the rest leans on:

- Nobody is asked to prepare before the workload's queue has the acceptance: a workload that
  went on alone took its queue with it, so a late gatherer gathers for nobody.
- Before the commit a failure makes the section gather again, or abort with a cause. After
  it, only leaving or a reset by a person opens the bench; time alone never does.
- Go is one publish, to a frozen list, made after ``committed`` is on disk; it is repeated
  only before t0 and word for word.
- Every ``PrepareSection`` ends in ``SectionStopped`` or ``SectionAborted``.
"""

from pytest_gatherscatter.sections.gatherer.lab import GathererFacts
from pytest_gatherscatter.sections.gatherer.machine import Gatherer

__all__ = ["Gatherer", "GathererFacts"]
