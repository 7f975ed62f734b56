"""Who may have tasks: what a balancer finds of the one before, and leaves to the next."""

from pytest_gatherscatter.roundrobin.census import Census
from pytest_gatherscatter.wire.roundrobin import MOST_KNOWN, WorkerKnown, WorkersKnown

ECHO = "service.echo"
OLD, MINE = "aa" * 8, "bb" * 8
ONE, TWO = ("one", "11" * 4), ("two", "22" * 4)


def known(
    balancer: str, *pairs: tuple[str, str], revision: int = 1, more: bool = False
) -> WorkersKnown:
    """What a balancer has left."""
    workers = tuple(WorkerKnown(worker=name, instance=instance) for name, instance in pairs)
    return WorkersKnown(
        service=ECHO, balancer=balancer, revision=revision, workers=workers, more=more
    )


def pairs(said: WorkersKnown | None) -> set[tuple[str, str]]:
    """Whom it names."""
    assert said is not None
    return {(one.worker, one.instance) for one in said.workers}


def test_it_is_complete_when_all_have_told() -> None:
    """Each in the life that the earlier balancer knew: whoever was started again may have died."""
    census = Census(ECHO, MINE)
    assert not census.complete, "nobody has said who was there"
    assert census.take(known(OLD, ONE, TWO), 7) == []
    census.tell(*ONE)
    census.tell("two", "33" * 4)
    assert not census.complete
    census.tell(*TWO)
    assert census.complete


def test_two_earlier_ones_add_up() -> None:
    """A balancer that died before it had settled in leaves its forerunner's census, too."""
    census = Census(ECHO, MINE)
    census.take(known(OLD, ONE), 1)
    census.take(known("cc" * 8, TWO), 2)
    census.tell(*TWO)
    assert not census.complete
    census.tell(*ONE)
    assert census.complete


def test_one_for_which_there_was_no_room_is_never_complete() -> None:
    """Who is not named cannot be missed; what it leaves to the next says so, too."""
    census = Census(ECHO, MINE)
    census.take(known(OLD, more=True), 1)
    assert not census.complete
    said = census.publish([ONE])
    assert said is not None
    assert said.more
    census.settled()
    crowd = [(f"w{number}", "11" * 4) for number in range(MOST_KNOWN + 1)]
    said = census.publish(crowd)
    assert said is not None
    assert (len(said.workers), said.more) == (MOST_KNOWN, True)


def test_what_is_new_is_published_and_the_old_kept_until_then() -> None:
    """Whom the earlier one knew stays named until what they had is known."""
    census = Census(ECHO, MINE)
    census.take(known(OLD, ONE), 1)
    first = census.publish([TWO])
    assert pairs(first) == {ONE, TWO}
    assert census.publish([TWO]) is None
    assert census.take(known(MINE, ONE, TWO), 2) == []
    assert census.outdated() == [], "the earlier one is needed until all is known"
    census.settled()
    second = census.publish([TWO])
    assert pairs(second) == {TWO}
    assert first is not None
    assert second is not None
    assert second.revision > first.revision
    assert census.take(known(MINE, TWO, revision=2), 3) == [2]
    assert (census.outdated(), census.outdated()) == ([1], [])


def test_none_is_given_up_before_its_follower_is_in_the_queue() -> None:
    """A balancer that dies in between leaves the earlier census where it was."""
    census = Census(ECHO, MINE)
    census.take(known(OLD, ONE), 1)
    census.settled()
    assert census.outdated() == []
    census.take(known(MINE), 2)
    assert census.outdated() == [1]
