"""What one run remembers of a lab that was not there."""

from pytest_gatherscatter.sections.workload.memory import Memory


def test_a_live_broker_is_asked_twice_a_second_at_most() -> None:
    """Many short tests do not connect each time; one with demands does, for it would fail."""
    memory = Memory()
    memory.empty("no gatherer in the lab", 100.0)
    assert memory.absence(100.4, demanding=False) == "no gatherer in the lab"
    assert memory.absence(100.4, demanding=True) is None
    assert memory.absence(100.6, demanding=False) is None
    assert not memory.tried
    memory.absent("no answer", 101.0)
    assert memory.absence(105.9, demanding=True) == "no answer"
