"""The table of workers: whose turn it is, who may take, and what that costs."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytest_gatherscatter.roundrobin.table import LeastRecentlyUsed, MostFree, Order, Table, Worker

ECHO, FLASH = "service.echo", "steps.flash"
ORDERS: tuple[Callable[[], Order], ...] = (LeastRecentlyUsed, MostFree)


def worker(name: str, slots: int = 1, *services: str) -> Worker:
    """A worker, of one service unless some are told."""
    return Worker(name, f"{name}0", slots, "ab" * 8, {*(services or (ECHO,))})


def table(*workers: Worker, order: Callable[[], Order] = LeastRecentlyUsed) -> Table:
    """A table with them, the first one next."""
    made = Table((ECHO, FLASH), order)
    for one in workers:
        made.add(one)
    return made


def turns(made: Table, service: str = ECHO) -> list[str]:
    """Who has a free slot, next first."""
    return [one.name for one in made.free(service)]


def give(made: Table, task: str, service: str = ECHO) -> str:
    """Give a task to whose turn it is."""
    one = made.first(service)
    assert one is not None
    made.give(one, task)
    return one.name


def test_who_gets_a_task_goes_to_the_bottom_and_the_full_go_out() -> None:
    """Least recently used first; whoever has a slot again comes behind those who had one."""
    made = table(worker("a", 2), worker("b", 1), worker("c", 3))
    assert [give(made, f"t{number}") for number in range(6)] == [*"abcacc"]
    assert made.first(ECHO) is None
    b, c = made.get("b"), made.get("c")
    assert b is not None
    assert c is not None
    assert made.take_back(c, "t2")
    assert made.take_back(b, "t1")
    assert turns(made) == ["c", "b"]
    assert [one.name for one in made] == ["c", "b", "a"], "who is full is listed last"


def test_a_slot_is_freed_once_for_each_task() -> None:
    """Twice told, or of a task that it never had, it frees nothing: slots are a ceiling."""
    one = worker("a", 2)
    made = table(one)
    assert not made.take_back(one, "never")
    give(made, "t")
    assert (made.take_back(one, "t"), made.take_back(one, "t")) == (True, False)
    assert (one.free, one.slots) == (2, 2)


def test_who_says_that_it_runs_something_has_lost_no_turn() -> None:
    """Nobody gave it; with it the worker may be full."""
    made = table(worker("a", 2), worker("b", 2))
    a = made.get("a")
    assert a is not None
    made.hold(a, "x")
    assert (turns(made), a.given) == (["a", "b"], 0)
    made.hold(a, "y")
    assert turns(made) == ["b"]


def test_whoever_ends_a_task_keeps_its_turn() -> None:
    """Only being given something, or having been full, is use: a slot that is freed is none."""
    made = table(worker("a", 2), worker("b", 2))
    a = made.get("a")
    assert a is not None
    for task in "xy":
        give(made, task)
    made.take_back(a, "x")
    assert turns(made) == ["a", "b"]


def test_services_have_orders_of_their_own_and_share_slots() -> None:
    """A task of one is a turn in the other, too; who leaves a service keeps what it has."""
    both, one = worker("both", 2, ECHO, FLASH), worker("one", 1, FLASH)
    made = table(both, one)
    assert (turns(made), turns(made, FLASH)) == (["both"], ["both", "one"])
    give(made, "t")
    assert turns(made, FLASH) == ["one", "both"]
    give(made, "u")
    assert (turns(made), turns(made, FLASH)) == ([], ["one"])
    made.leave(both, ECHO)
    made.take_back(both, "t")
    assert (turns(made), turns(made, FLASH), [*both.tasks]) == ([], ["one", "both"], ["u"])
    made.join(both, ECHO)
    assert turns(made) == ["both"]
    made.remove(both)
    assert (turns(made), turns(made, FLASH), len(made)) == ([], ["one"], 1)
    with pytest.raises(ValueError, match="there is a worker 'one' already"):
        made.add(worker("one"))


def test_the_longest_silent_one_is_known() -> None:
    """Any sign of life counts."""
    made = table(worker("a"), worker("b"))
    a = made.get("a")
    assert a is not None
    made.hear(a, 1.0)
    silent = made.longest_silent()
    assert silent is not None
    assert (silent.name, a.heard_at) == ("b", 1.0)


def test_most_free_is_by_slots_and_then_by_turn() -> None:
    """Whoever has the most; each slot that is taken or freed counts at once."""
    made = table(worker("a", 1), worker("b", 3), worker("c", 2), order=MostFree)
    assert [give(made, f"t{number}") for number in range(6)] == ["b", *"cb", *"acb"]
    assert made.first(ECHO) is None
    for name, task in (("a", "t3"), ("b", "t0"), ("b", "t2")):
        one = made.get(name)
        assert one is not None
        assert made.take_back(one, task)
    assert turns(made) == ["b", "a"]


def test_equal_workers_get_equally_much() -> None:
    """10,000 tasks over ten workers, each done some time after it was given."""
    made = table(*(worker(f"w{number}", 10) for number in range(10)))
    running: list[tuple[Worker, str]] = []
    got: Counter[str] = Counter()
    for number in range(10_000):
        one = made.first(ECHO)
        assert one is not None
        made.give(one, str(number))
        got[one.name] += 1
        running.append((one, str(number)))
        if len(running) > 60:  # some early, some late: not in the order in which they were given
            made.take_back(*running.pop(number * 7 % 50))
    assert max(got.values()) <= 1.05 * min(got.values()), got


class Counting(OrderedDict[Any, Any]):
    """A dict that counts what is asked of it."""

    asked = 0

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401 - as its base
        """Count each that is written."""
        Counting.asked += 1
        super().__setitem__(key, value)

    def values(self) -> Any:  # noqa: ANN401 - as its base
        """Count each that is looked at."""
        for value in super().values():
            Counting.asked += 1
            yield value


@pytest.mark.parametrize("order", ORDERS)
def test_a_pick_costs_the_same_among_ten_and_a_hundred_thousand(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: entries looked at and written for a turn, the full ones left aside."""
    monkeypatch.setattr("pytest_gatherscatter.roundrobin.table.OrderedDict", Counting)

    def cost(workers: int) -> int:
        made = table(*(worker(f"w{number}", 2) for number in range(workers)), order=order)
        for number in range(min(workers // 2, 1000)):  # these are full, and stand in no order
            one = made.get(f"w{number}")
            assert one is not None
            for task in "xy":
                made.give(one, task)
        before = Counting.asked
        for number in range(10):
            one = made.first(ECHO)
            assert one is not None
            made.give(one, f"t{number}")
            assert made.take_back(one, f"t{number}")
        return Counting.asked - before

    few, many = cost(20), cost(100_000)
    assert 0 < many <= few


NAMES = tuple("abc")
TASKS = tuple(f"t{number}" for number in range(6))
names, tasks = st.sampled_from(NAMES), st.sampled_from(TASKS)


class AnyTurns(RuleBasedStateMachine):
    """Workers come, go, are full, rest and change, in any order; ``order`` is the table's."""

    order: Callable[[], Order] = LeastRecentlyUsed

    def __init__(self) -> None:
        super().__init__()
        self.table = Table((ECHO, FLASH), type(self).order)

    @rule(name=names, slots=st.integers(1, 3), services=st.sets(st.sampled_from((ECHO, FLASH))))
    def add(self, name: str, slots: int, services: set[str]) -> None:
        """One comes."""
        if self.table.get(name) is None:
            self.table.add(Worker(name, name, slots, "ab" * 8, set(services)))

    @rule(name=names)
    def remove(self, name: str) -> None:
        """One is lost."""
        if (one := self.table.get(name)) is not None:
            self.table.remove(one)

    @rule(task=tasks, service=st.sampled_from((ECHO, FLASH)))
    def give(self, task: str, service: str) -> None:
        """Whose turn it is gets a task."""
        if (one := self.table.first(service)) is not None:
            self.table.give(one, task)

    @rule(name=names, task=tasks)
    def hold(self, name: str, task: str) -> None:
        """One says that it runs a task, whatever its slots are."""
        if (one := self.table.get(name)) is not None:
            self.table.hold(one, task)

    @rule(name=names, task=tasks)
    def take_back(self, name: str, task: str) -> None:
        """A task ends, or is said to."""
        if (one := self.table.get(name)) is not None:
            before, had = len(one.tasks), task in one.tasks
            assert self.table.take_back(one, task) is had
            assert len(one.tasks) == before - had

    @rule(name=names, service=st.sampled_from((ECHO, FLASH)), joins=st.booleans())
    def serve(self, name: str, service: str, joins: bool) -> None:  # noqa: FBT001 - drawn
        """One takes up a service, or leaves it."""
        if (one := self.table.get(name)) is not None:
            (self.table.join if joins else self.table.leave)(one, service)

    @rule(
        name=names,
        slots=st.integers(1, 3),
        ready=st.booleans(),
        leaving=st.booleans(),
        rests=st.booleans(),
    )
    def change(self, name: str, slots: int, *, ready: bool, leaving: bool, rests: bool) -> None:
        """One registers again, cannot be reached, rests."""
        if (one := self.table.get(name)) is not None:
            one.slots, one.ready, one.leaving = slots, ready, leaving
            one.resting_until = 1.0 if rests else None
            self.table.place(one, moved=ready)

    @invariant()
    def in_the_order_is_who_may_take(self) -> None:
        """Of each service exactly those, each once; slots are neither below none nor too many."""
        for service in (ECHO, FLASH):
            order = turns(self.table, service)
            may = [one.name for one in self.table if service in one.services and one.may_take]
            assert sorted(order) == sorted(may)
            first = self.table.first(service)
            assert (first.name if first else None) == (order[0] if order else None)
        for one in self.table:
            assert 0 <= one.free <= one.slots
            assert one.free == max(0, one.slots - len(one.tasks))

    @precondition(lambda self: type(self).order is MostFree)
    @invariant()
    def nobody_has_more_free_slots_than_the_first(self) -> None:
        """That is what this order is for."""
        for service in (ECHO, FLASH):
            free = [one.free for one in self.table.free(service)]
            assert free == sorted(free, reverse=True)


class AnyTurnsBySlots(AnyTurns):
    """The same by free slots."""

    order = MostFree


for _machine in (AnyTurns, AnyTurnsBySlots):
    _machine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestAnyTurns = AnyTurns.TestCase
TestAnyTurnsBySlots = AnyTurnsBySlots.TestCase
