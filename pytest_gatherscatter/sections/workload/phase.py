"""What a workload's visit is about, step after step: the phases of its guide."""

from pytest_gatherscatter.machine import State


class Phase(State):
    """What a visit is about. In the phases marked as rest its caller has to say what follows."""

    SEEK = "seek"
    """Looking for the lab, and waiting until all are ready."""
    LOCK = "lock"
    """There is none, and it may run alone: waiting for the bench on this host."""
    GATHERED = "gathered"
    """A rest: all are ready, or the bench is taken for a section that runs alone."""
    COMMIT = "commit"
    """Lock, clock and ticket, then Go."""
    QUIET = "quiet"
    """Go is known: closing, then sleeping to t0."""
    INSIDE = "inside"
    """A rest: the body runs."""
    LEAVE = "leave"
    """The lab is told how it went, and closes the section."""
    DROP = "drop"
    """It is not to be: the lab is told if it can be."""
    OVER = "over"
    """The last rest: nothing is open any more."""
