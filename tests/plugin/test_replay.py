"""How many tests a job has, as far as can be said while files are shut."""

from pytest_gatherscatter.plugin.replay import Count


def test_what_is_shut_is_expected_to_be_as_what_was_opened() -> None:
    """Known files count as before, unknown ones as the usual; both in the measure of what came."""
    count = Count({"a": 4, "b": 4, "c": 0})
    assert count.guess == 12
    count.open("a", 8)
    assert count.guess == 8 + 16
    count.open("b", 0)
    assert count.guess == 8 + 4
    count.lose("c")
    assert count.guess == count.found == 8


def test_it_is_more_than_what_is_known_while_a_file_is_shut() -> None:
    """Else all would look done before it is."""
    count = Count({"a": 1, "b": 1, "c": 1})
    count.open("a", 0)
    assert count.guess == 2
    count.open("b", 0)
    assert count.guess == 1
