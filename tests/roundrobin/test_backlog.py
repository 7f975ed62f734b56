"""What waits: in its order, bounded by count and bytes, ahead of newcomers."""

import pytest

from pytest_gatherscatter.roundrobin.backlog import Backlog
from pytest_gatherscatter.roundrobin.task import Task, Wanted
from pytest_gatherscatter.wire.roundrobin import Execute


def task(id_: str, size: int = 10, bound: str | None = None) -> Task:
    """A task with a body of so many bytes, for one worker or any."""
    message = Execute(task="aaaaaaaa", service="echo", command="PING", deadline=1.0)
    body = b"x" * size
    return Task(id_, "service.echo", 1, message, Wanted(), "", "", body, 0.0, bound=bound)


def ids(backlog: Backlog) -> str:
    """Who waits, in their order."""
    return "".join(one.id for one in backlog.tasks())


def test_it_is_bounded_by_count_and_by_bytes() -> None:
    """Whichever is reached first (the seed's had no bound); what comes back is never too much."""
    backlog = Backlog(3, 100)
    for id_ in "ab":
        assert not backlog.is_full(10)
        backlog.push(task(id_))
    assert (backlog.is_full(80), backlog.is_full(81)) == (False, True)
    backlog.push(task("c"))
    assert backlog.is_full(0)
    backlog.push(task("d", 1000), ahead=True)
    assert (ids(backlog), len(backlog), backlog.bytes) == ("dabc", 4, 1030)
    assert Backlog(0, 100).is_full(0), "one that may hold nothing is full at once"


def test_what_comes_back_stands_in_front() -> None:
    """Each in front of the one before; each is taken out once."""
    backlog = Backlog(10, 1000)
    assert backlog.passes
    waiting = [task(id_) for id_ in "abc"]
    backlog.push(waiting[0])
    for one in waiting[1:]:
        backlog.push(one, ahead=True)
    assert (ids(backlog), backlog.passes) == ("cba", False)
    head = backlog.next("anybody")
    assert head is waiting[2]
    assert (backlog.drop(head), backlog.drop(head)) == (True, False)
    assert (ids(backlog), len(backlog), backlog.bytes) == ("ba", 2, 20)


def test_what_waits_for_one_worker_holds_nobody_up() -> None:
    """Nobody else gets it; its worker gets whatever came first."""
    backlog = Backlog(10, 1000)
    for id_, bound in (("a", "one"), ("b", None), ("c", "one")):
        backlog.push(task(id_, bound=bound))
    assert ids(backlog) == "abc"
    heads = [backlog.next(name) for name in ("one", "two")]
    assert [one.id for one in heads if one] == ["a", "b"]
    assert not backlog.passes
    b = heads[1]
    assert b is not None
    backlog.drop(b)
    assert backlog.passes, "those that wait for one worker only are overtaken"
    assert backlog.next("two") is None
    backlog.push(b)
    backlog.unbind("one")
    backlog.unbind("nobody")
    assert ids(backlog) == "acb"
    assert [one.bound for one in backlog.tasks()] == [None] * 3
    first = backlog.next("two")
    assert first is not None
    assert first.id == "a"


@pytest.mark.parametrize("bound", [None, "one"])
def test_nothing_is_left_of_what_was_taken_out(bound: str | None) -> None:
    """Neither in its count nor in its bytes."""
    backlog = Backlog(10, 1000)
    waiting = [task(id_, 7, bound) for id_ in "abc"]
    for one in waiting:
        backlog.push(one)
    assert all(backlog.drop(one) for one in waiting)
    assert (len(backlog), backlog.bytes, backlog.tasks(), backlog.passes) == (0, 0, [], True)
