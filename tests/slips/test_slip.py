"""What a slip means: which step is next, when it is over, and what is undone."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatherscatter.slips import route
from pytest_gatherscatter.slips.slip import (
    MOST_BYTES,
    add,
    check,
    cut_short,
    ends,
    halted_by,
    is_chain,
    judge,
    merge,
    note,
    plan,
    task_for,
)
from pytest_gatherscatter.wire.codec import size
from pytest_gatherscatter.wire.names import WAITING_KEY
from pytest_gatherscatter.wire.slips import (
    Attempt,
    KeepSlip,
    OnFailure,
    RunStep,
    Slip,
    SlipOver,
    Status,
    Step,
    Task,
)

STATUSES: tuple[Status, ...] = (
    "done",
    "failed",
    "timed-out",
    "interrupted",
    "cancelled",
    "expired",
    "refused",
    "unserved",
)


def step(number: int, on_failure: OnFailure = "stop", **more: object) -> Step:
    """Make a step."""
    said = {"number": number, "process": "power", "command": "on", "on_failure": on_failure}
    return msgspec.convert(said | more, Step)


BOTH = msgspec.convert({"number": 1, "process": "power", "command": "on", "shell": "ls"}, Step)


def slip(*steps: Step, **more: object) -> Slip:
    """Make a slip of these steps."""
    return msgspec.structs.replace(Slip(id="0123abcd", name="burn-in", steps=steps), **more)


def ended(one: Slip, *ends: tuple[int, Status], compensating: bool = False) -> Slip:
    """Put ends of steps on record, each final."""
    for at, (number, status) in enumerate(ends, len(one.progress) + 1):
        task = task_for(one, number, compensating=compensating)
        attempt = Attempt(
            number=number,
            attempt=task.attempt,
            status=status,
            compensating=compensating,
            started=float(at),
        )
        one = note(one, attempt)
    return one


def numbers(tasks: Iterable[Task]) -> list[int]:
    """Return the steps of tasks; below zero what undoes one."""
    return [-task.number if task.compensating else task.number for task in tasks]


def test_a_chain_goes_step_by_step() -> None:
    """The next step is the first without a final entry; then it is done."""
    one = slip(step(1), step(2), step(3))
    for number in (1, 2, 3):
        assert numbers(plan(one).tasks) == [number]
        assert plan(one).outcome is None
        one = ended(one, (number, "done"))
    assert plan(one).tasks == ()
    assert plan(one).outcome == "done"


def test_independent_steps_go_together_and_are_joined() -> None:
    """What comes after both waits for both, and for nothing else."""
    one = slip(step(1, after=()), step(2, after=()), step(3, after=(1, 2)), step(4, after=(1,)))
    assert not is_chain(one)
    assert numbers(plan(one).tasks) == [1, 2]
    one = ended(one, (1, "done"))
    running = [Task(number=2, attempt=1)]
    assert numbers(plan(one, running).tasks) == [4]
    one = ended(one, (2, "done"))
    assert numbers(plan(one).tasks) == [3, 4]


@pytest.mark.parametrize("status", STATUSES[1:])
@pytest.mark.parametrize("policy", ["stop", "continue", "compensate"])
def test_what_a_failure_does(policy: OnFailure, status: Status) -> None:
    """Stop ends it, continue goes on unless it was cancelled or late, compensate undoes first."""
    one = slip(step(1, compensate="off"), step(2, policy, compensate="off"), step(3))
    one = ended(one, (1, "done"), (2, status))
    todo = plan(one)
    goes_on = policy == "continue" and status not in {"cancelled", "expired"}
    unknown = status in {"interrupted", "timed-out", "cancelled", "expired"}
    if goes_on:
        assert numbers(todo.tasks) == [3]
        one = ended(one, (3, "done"))
    elif policy == "compensate":
        for number in (2, 1) if unknown else (1,):
            assert numbers(plan(one).tasks) == [-number]
            one = ended(one, (number, "done"), compensating=True)
    outcome = status if status in {"cancelled", "expired"} else "failed"
    assert plan(one).outcome == outcome
    halt = halted_by(one)
    assert halt is not None
    assert halt.number == 2


def test_mandatory_steps_are_run_whatever_has_failed() -> None:
    """They come last, one after the other, also after a failure of one of them."""
    one = slip(step(1), step(2), step(3, mandatory=True), step(4, mandatory=True))
    one = ended(one, (1, "failed"))
    assert numbers(plan(one).tasks) == [3]
    one = ended(one, (3, "failed"))
    assert numbers(plan(one).tasks) == [4]
    one = ended(one, (4, "done"))
    assert plan(one).outcome == "failed"


def test_what_has_begun_is_waited_for() -> None:
    """A halted slip is neither undone nor over while a branch of it runs."""
    one = slip(step(1, "compensate", after=()), step(2, after=(), compensate="off"))
    one = ended(one, (1, "failed"))
    assert plan(one, [Task(number=2, attempt=1)]) == plan(one, (Task(number=2, attempt=1),))
    assert plan(one, [Task(number=2, attempt=1)]).outcome is None
    one = ended(one, (2, "done"))
    assert numbers(plan(one).tasks) == [-2]


def test_a_compensation_that_fails_is_on_record_and_the_next_is_begun() -> None:
    """Undoing goes on: what can be made safe is."""
    steps = (step(1, compensate="a"), step(2, compensate="b"), step(3, "compensate"))
    one = ended(slip(*steps), (1, "done"), (2, "done"), (3, "failed"))
    one = ended(one, (2, "failed"), compensating=True)
    assert numbers(plan(one).tasks) == [-1]
    one = ended(one, (1, "done"), compensating=True)
    assert plan(one).outcome == "failed"


@pytest.mark.parametrize("status", STATUSES)
def test_what_is_tried_again(status: Status) -> None:
    """Failures and timeouts as often as was said, later and later; a death only with leave."""
    one = slip(step(1, retries=2, backoff=3.0))
    first = judge(one, Task(number=1, attempt=1), status)
    assert first == ((False, 3.0) if status in {"failed", "timed-out"} else (True, 0.0))
    for attempt, expected in ((1, (False, 6.0)), (2, (True, 0.0))):
        failed = Attempt(number=1, attempt=attempt, status="failed", final=False)
        one = note(one, failed)
        assert judge(one, Task(number=1, attempt=attempt + 1), "failed") == expected
    leave = slip(step(1, rerun=True))
    again = judge(leave, Task(number=1, attempt=1), status)
    assert again[0] is (status != "interrupted")


def test_what_always_kills_its_processor_is_not_tried_for_ever() -> None:
    """Three deaths, and no fourth."""
    one = slip(step(1, rerun=True))
    for attempt in range(1, 4):
        final_now, _ = judge(one, Task(number=1, attempt=attempt), "interrupted")
        assert not final_now
        died = Attempt(number=1, attempt=attempt, status="interrupted", final=False)
        one = note(one, died)
    assert judge(one, Task(number=1, attempt=4), "interrupted") == (True, 0.0)


def test_what_is_said_again_counts_once() -> None:
    """A final attempt stays what it was."""
    one = ended(slip(step(1), step(2)), (1, "failed"))
    again = note(one, Attempt(number=1, attempt=1, status="done"))
    assert again is one
    later = note(one, Attempt(number=1, attempt=2, status="done"))
    assert ends(later) == ends(one)
    assert plan(later) == plan(one)
    assert ends(one)[1] == one.progress[0]


def test_steps_are_added_before_the_mandatory_ones() -> None:
    """They have numbers of their own, come one after the other, and are there once."""
    one = slip(step(1), step(2), step(3, mandatory=True))
    one = ended(one, (1, "done"))
    more = add(one, 1, [step(9), step(9, after=(2,))])
    assert [each.number for each in more.steps] == [1, 2, 101, 102, 3]
    assert add(more, 1, [step(9), step(9)]) == more
    more = ended(more, (2, "done"))
    assert numbers(plan(more).tasks) == [101]
    more = ended(more, (101, "done"))
    assert numbers(plan(more).tasks) == [102]
    with pytest.raises(ValueError, match="step 3 may not add steps"):
        add(more, 3, [step(1)])
    with pytest.raises(ValueError, match="fewer than 100"):
        add(more, 1, [step(1)] * 100)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((step(1), step(1)), "step 1: there are two"),
        ((step(1, after=(2,)), step(2)), "step 1: after names 2"),
        ((step(1, after=(1,)),), "step 1: after names 1"),
        ((step(1, mandatory=True), step(2)), "step 2: mandatory steps stand last"),
        ((step(1), step(2, mandatory=True, after=(1,))), "step 2: after is not for mandatory"),
        ((BOTH,), "step 1: command or shell"),
        ((step(1, command=None),), "step 1: command or shell"),
    ],
)
def test_what_makes_no_sense_is_named(steps: tuple[Step, ...], why: str) -> None:
    """By step and field."""
    with pytest.raises(ValueError, match=why):
        check(slip(*steps))


def test_a_slip_stays_small_enough_for_a_message() -> None:
    """The oldest output goes first; how each step ended stays."""
    one = slip(*(step(number) for number in range(1, 181)))
    for number in range(1, 181):
        loud = Attempt(
            number=number, attempt=1, status="done", stdout_tail="x" * 4096, stderr_tail="y" * 4096
        )
        one = note(one, loud)
    assert size(one) <= MOST_BYTES
    assert len(one.progress) == 180
    assert one.progress[0].stdout_tail == ""
    assert one.progress[-1].stdout_tail == "x" * 4096


def test_where_a_slip_goes() -> None:
    """To its process, to the waiting room for a while, or back."""
    one = slip(step(1), step(2), reply_to="reply.0123abcd")
    key, message = route.first(one)
    assert (key, message) == ("steps.power", RunStep(slip=one, task=Task(number=1, attempt=1)))
    one = ended(one, (1, "done"))
    assert route.onward(one, wall=0.0)[0] == "steps.power"
    key, message = route.onward(one, wall=0.0, delay=2.0)
    assert isinstance(message, KeepSlip)
    assert (key, message.why, message.seconds) == (WAITING_KEY, "retry", 2.0)
    one = ended(one, (2, "done"))
    assert route.onward(one, wall=0.0) == ("reply.0123abcd", SlipOver(slip=one, outcome="done"))
    assert route.first(slip(step(1, after=())))[0] == WAITING_KEY


@pytest.mark.parametrize(
    ("more", "status"), [({"cancelled": "ann"}, "cancelled"), ({"deadline": 5.0}, "expired")]
)
def test_what_is_cut_short_between_its_steps(more: dict[str, object], status: str) -> None:
    """The step that would come next says why; what is undone and what is mandatory is run."""
    one = slip(
        step(1, compensate="off"),
        step(2, "compensate"),
        step(3, mandatory=True),
        **more,
    )
    one = ended(one, (1, "done"))
    key, message = route.onward(one, wall=6.0)
    assert isinstance(message, RunStep)
    assert (key, numbers([message.task])) == ("steps.power", [-1])
    assert message.slip.progress[-1].status == status
    assert cut_short(message.slip, "cancelled", "again") is message.slip


POLICIES: tuple[OnFailure, ...] = ("stop", "continue", "compensate")


@st.composite
def slips(draw: st.DrawFn) -> Slip:
    """Draw a slip with branches, policies and mandatory steps."""
    count = draw(st.integers(1, 6))
    mandatory = draw(st.integers(0, 1)) if count > 1 else 0
    steps = []
    for number in range(1, count + 1):
        last = number > count - mandatory
        before = st.lists(st.integers(1, max(1, number - 1)), unique=True, max_size=3)
        after = tuple(sorted(one for one in draw(before) if one < number))
        steps.append(
            step(
                number,
                draw(st.sampled_from(POLICIES)),
                after=None if last or draw(st.booleans()) else after,
                compensate=draw(st.sampled_from([None, "off"])),
                retries=draw(st.integers(0, 1)),
                mandatory=last,
            )
        )
    return slip(*steps)


@settings(max_examples=300, deadline=None)
@given(slips(), st.data())
def test_every_slip_comes_to_its_end(one: Slip, data: st.DataObject) -> None:
    """Whatever its steps do, in whatever order they come back, in copies that are joined again."""
    check(one)
    launched: list[Task] = []
    for _ in range(60):
        todo = plan(one, launched)
        launched += [task for task in todo.tasks if task not in launched]
        if todo.outcome is not None:
            break
        assert launched, "it waits for nothing"
        task = launched.pop(data.draw(st.integers(0, len(launched) - 1)))
        status = data.draw(st.sampled_from(STATUSES))
        over, _ = judge(one, task, status)
        attempt = Attempt(
            number=task.number,
            attempt=task.attempt,
            compensating=task.compensating,
            status=status,
            final=over,
            started=1.0,
        )
        branch = note(one, attempt)
        assert merge(one, branch) == merge(branch, one) == branch
        one = merge(one, branch)
    else:
        pytest.fail("it never ends")
    assert not launched
    named = {each.number for each in one.steps}
    assert {each.number for each in one.progress} <= named
    if todo.outcome == "done":
        assert named <= {*ends(one)}
    for each in one.steps:
        assert not each.mandatory or each.number in ends(one)
