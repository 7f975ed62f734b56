"""When a signal may raise: not while anything is torn by it, and soon."""

import os
import signal
from collections.abc import Iterator

import pytest

from pytest_gatherscatter.broker.interrupt import held, interruptible, strike


class Ended(KeyboardInterrupt):
    """What a command makes of SIGTERM."""


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """Let SIGTERM raise; whatever a test does, both handlers are the old ones afterwards."""

    def end(_number: int, _frame: object) -> None:
        raise Ended

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGTERM, end)
    yield
    found = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert found == [before[0], end]


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended)]
)
def test_it_raises_when_all_is_done(number: int, kind: type[KeyboardInterrupt]) -> None:
    """Also out of one within another: what is whole is the outer one."""
    done: list[str] = []

    def work() -> None:
        with held():
            with held():
                signal.raise_signal(number)
                done.append("inner")
            done.append("outer")

    with pytest.raises(kind) as caught:
        work()
    assert type(caught.value) is kind
    assert done == ["inner", "outer"]


def test_a_wait_is_a_place_to_strike() -> None:
    """Between two turns of a loop nothing is torn."""

    @held()
    def wait() -> None:
        strike()
        signal.raise_signal(signal.SIGINT)
        strike()
        pytest.fail("it was still held")

    with pytest.raises(KeyboardInterrupt):
        wait()


def test_who_presses_twice_has_waited_enough() -> None:
    """The second of one kind strikes at once; one of another kind waits as the first does."""

    @held()
    def wait() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it was still held")

    with pytest.raises(KeyboardInterrupt):
        wait()


def test_a_fork_holds_nothing() -> None:
    """It has the handlers of its parent, and none of the signals that came to that."""
    before = signal.getsignal(signal.SIGINT)
    statuses: list[int] = []

    @held()
    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        if not (pid := os.fork()):
            strike()  # it would raise
            os._exit(0 if signal.getsignal(signal.SIGINT) is before else 1)
        statuses.append(os.waitpid(pid, 0)[1])

    with pytest.raises(KeyboardInterrupt):
        work()
    assert statuses == [0]


def test_what_broke_meanwhile_is_not_lost() -> None:
    """The interrupt carries the error in whose time it came."""

    @held()
    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ValueError

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, ValueError)


def test_a_signal_that_does_not_raise_ends_nothing() -> None:
    """A service that drains is told, and goes on."""
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    try:
        with held():
            signal.raise_signal(signal.SIGINT)
            assert not told
            strike()
            assert told == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [signal.SIGINT]


def test_an_interrupt_ends_in_a_frame_of_ours() -> None:
    """As pytest shows it."""

    @interruptible
    def call() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        call()
    assert caught.traceback[-1].path.name == "interrupt.py"  # type: ignore[union-attr]
