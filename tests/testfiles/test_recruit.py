"""Listeners in the eyes of a job: who is counted on, who is told of; and who goes in good order."""

from jobplay import JOB, File, Play

from pytest_gatherscatter.machine import Received, Send, Told, Woken
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.recruit import MOST_LISTENERS, QUIET, Recruits
from pytest_gatherscatter.testfiles.shell import Leave
from pytest_gatherscatter.wire import testfiles as m

ONE, TWO = "ab" * 4, "cd" * 4


def told(state: str, listener: str = ONE, text: str = "") -> m.ListenerTold:
    """What a listener says of this job."""
    return m.ListenerTold(job=JOB, listener=listener, host="pc", state=state, text=text)


def hear(one: Play, message: m.ListenerTold) -> None:
    """Let the job hear it."""
    one.feed(Received(message, 0))


def after(one: Play, seconds: float) -> None:
    """Let time pass."""
    one.now += seconds
    one.feed(Woken())


def test_a_job_waits_for_who_prepares_it() -> None:
    """As long as they speak; from then on the wait for a worker counts from its beginning."""
    one = Play({"test_a.py": File(1)}, wait=20)
    for _ in range(10):
        hear(one, told("preparing"))
        after(one, QUIET / 2)
    assert not one.of(news.JobEnded)
    after(one, QUIET)
    after(one, 19)
    assert not one.of(news.JobEnded)
    after(one, 2)
    (ended,) = one.of(news.JobEnded)
    assert isinstance(ended, news.JobEnded)
    assert ended.text == "no worker came in 20 s"


def test_who_is_busy_or_failed_is_not_counted_on() -> None:
    """They are told of in the end; a failure is told at once, and once."""
    one = Play({"test_a.py": File(1)}, wait=20)
    for _ in range(5):
        after(one, 5)
        hear(one, told("queued"))
        hear(one, told("failed", TWO, "no rsync"))
    (failed,) = one.of(news.ListenerFailed)
    assert isinstance(failed, news.ListenerFailed)
    assert (failed.host, failed.why) == ("pc", "no rsync")
    (ended,) = one.of(news.JobEnded)
    assert isinstance(ended, news.JobEnded)
    expected = "no worker came in 20 s (1 listener had other jobs, 1 listener failed)"
    assert ended.text == expected


def test_a_listener_hears_whether_the_job_goes_on() -> None:
    """So one that has it in its queue, or fetches its files, forgets it when it is over."""
    one = Play({"test_a.py": File(1)}, wait=20)

    def answer() -> list[object]:
        effects = one.ledger.handle(Received(told("queued"), 0), now=one.now)
        return [type(effect.message) for effect in effects if isinstance(effect, Send)]

    assert answer() == [m.JobAlive]
    after(one, 20)
    assert answer() == [m.JobOver]


def test_listeners_are_bounded() -> None:
    """A flood of names costs no more than that."""
    recruits = Recruits()
    for number in range(MOST_LISTENERS + 5):
        recruits.hear(told("failed", f"{number:08x}"), 0.0)
    assert recruits.text(0.0) == f" ({MOST_LISTENERS} listeners failed)"


def test_who_goes_in_good_order_loses_nothing() -> None:
    """In mid-file, at whatever moment: the test that runs is told, all others run elsewhere."""
    for steps in range(1, 40):
        files = {f"test_{number}.py": File(4) for number in range(3)}
        one = Play(files)
        first = one.host(2)
        one.meet(first)
        for step in range(steps):
            procs = list(first.procs.values())
            if procs:
                first.step(procs[step % len(procs)])
            one.meet(first)
        first.feed(Told(Leave("it ends", in_order=True)))
        one.host(1)
        one.settle()
        assert one.check().text == ""
        assert len(one.of(news.TestReported)) == 12
        assert set(one.begun.values()) == {1}
        assert first.done in (["it ends"], [""])
