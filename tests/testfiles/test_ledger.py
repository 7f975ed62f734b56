"""The ledger: what was found is told exactly once, whoever dies."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobplay import JOB, File, Host, Play
from msgspec.structs import replace

from pytest_gatherscatter.machine import Confirmed, LinkUp, Publish, Received, Told, Woken
from pytest_gatherscatter.testfiles import news
from pytest_gatherscatter.testfiles.ledger import StopJob
from pytest_gatherscatter.wire import testfiles as m
from pytest_gatherscatter.wire.messages import Message


def play(files: dict[str, File], *slots: int, retries: int = 0) -> Play:
    """Play a job to its end with hosts of so many slots."""
    one = Play(files, retries=retries)
    for each in slots:
        one.host(each)
    one.settle()
    return one


def lost(one: Play) -> list[tuple[str, str]]:
    """Return the tests that were lost."""
    return [(lost.file, lost.test) for lost in one.shown if isinstance(lost, news.TestLost)]


def test_every_test_is_run_once() -> None:
    """On any number of workers, files long and short."""
    files = {f"test_{n}.py": File(n % 7) for n in range(50)}
    for slots in ((1,), (4,), (2, 3, 1), (60,)):
        one = play(files, *slots)
        assert one.check().text == ""
        assert set(one.begun.values()) == {1}
        assert len(one.of(news.TestReported)) == sum(file.tests for file in files.values())


def test_one_long_file_is_shared() -> None:
    """The second worker has nothing, and takes half of what is left, again and again."""
    one = play({"test_long.py": File(100)}, 4)
    assert one.check().text == ""
    ran = [shown.worker for shown in one.shown if isinstance(shown, news.TestReported)]
    assert len(set(ran)) == 4
    assert max(ran.count(worker) for worker in set(ran)) < 60


def test_a_file_that_is_known_to_be_long_is_divided_at_once() -> None:
    """Its worker keeps T/(2n), here eight of 32 seconds, while others have work, too."""
    files = {name: File(16, seconds=1.0) for name in ("test_a.py", "test_b.py")}
    said: list[object] = []
    one = Play(files)
    job = one.ledger.job
    say = job.say

    def overhear(supervisor: str, message: Message) -> None:
        said.append(message)
        say(supervisor, message)

    job.say = overhear  # type: ignore[method-assign]
    one.host(2)
    one.settle()
    assert one.check().text == ""
    assert set(one.begun.values()) == {1}
    asked = [one.most for one in said if isinstance(one, m.GiveBack)]
    assert asked[:2] == [8, 8]
    granted = [one for one in said if isinstance(one, m.RunFile) and one.tests]
    assert {one.tests for one in granted[:2]} == {tuple(range(8, 16))}


def test_a_file_that_must_stay_whole_is_not_shared() -> None:
    """All its tests run in one worker."""
    one = play({"test_whole.py": File(50, whole=True)}, 4)
    assert one.check().text == ""
    ran = {shown.worker for shown in one.shown if isinstance(shown, news.TestReported)}
    assert len(ran) == 1


def test_a_file_with_other_tests_each_time_goes_home() -> None:
    """Who was given a part of it cannot run it; who opened it can."""
    one = play({"test_random.py": File(60, strange=True)}, 3)
    assert one.check().text == ""
    assert lost(one) == []
    assert set(one.begun.values()) == {1}


def test_a_test_that_kills_is_lost_once() -> None:
    """The others of its file run elsewhere."""
    files = {"test_bad.py": File(10, kills=frozenset({3})), "test_good.py": File(5)}
    one = play(files, 2)
    assert one.check().text == ""
    assert lost(one) == [("test_bad.py", "test_3")]
    assert one.begun["test_bad.py", 3] == 1
    (told,) = [shown for shown in one.shown if isinstance(shown, news.TestLost)]
    assert "died: SIGKILL" in told.why


def test_a_death_between_tests_leaves_fixtures_behind() -> None:
    """It loses no test, and is told after the one that ran last; that of a whole host is not."""
    for its_own in (True, False):
        one = Play({"test_it.py": File(2)})
        host = one.host()
        while len(one.of(news.TestReported)) < 2:
            one.meet(host)
            host.step(host.procs["gw0"])
        if its_own:
            host.kill(host.procs["gw0"], "SIGSEGV")
        else:
            one.lose(host)
            one.now += 20
        one.settle()
        (gone,) = one.of(news.WorkerGone)
        assert isinstance(gone, news.WorkerGone)
        assert gone.died
        assert gone.after == ("test_it.py::test_1" if its_own else "")
        assert lost(one) == []


def test_a_test_that_kills_is_run_again_if_asked_for() -> None:
    """As often as was asked for, and then it is lost."""
    one = play({"test_bad.py": File(3, kills=frozenset({1}))}, 1, retries=1)
    assert one.check().text == ""
    assert one.begun["test_bad.py", 1] == 2
    assert lost(one) == [("test_bad.py", "test_1")]


def test_a_file_in_which_all_die_is_given_up() -> None:
    """After three workers the rest is not tried any more."""
    one = play({"test_bad.py": File(9, kills=frozenset(range(9)))}, 1)
    assert one.check().text == ""
    assert len(lost(one)) == 9
    assert sum(one.begun.values()) == 3


def test_a_file_that_kills_who_imports_it_is_one_error() -> None:
    """Its tests are not known, and nobody tries again."""
    one = play({"test_bad.py": File(9, kills_import=True), "test_good.py": File(2)}, 2)
    assert one.check().text == ""
    (told,) = one.of(news.FileLost)
    assert isinstance(told, news.FileLost)
    assert told.file == "test_bad.py"
    assert "importing it" in told.why
    assert len(one.of(news.TestReported)) == 2


def test_too_many_deaths_stop_the_job() -> None:
    """It is no test then; the rest is told as not run."""
    files = {f"test_{n}.py": File(1, kills_import=True) for n in range(20)}
    ended = play(files, 2).check()
    assert ended.text == "8 workers died one after the other, the last one of SIGSEGV"
    assert 10 <= len(ended.unopened) <= 12


def test_without_a_worker_the_job_stops() -> None:
    """Nothing was run, and it is said."""
    ended = play({"test_a.py": File(1)}).check()
    assert ended.text == "no worker came in 60 s"
    assert ended.unopened == ("test_a.py",)


def test_without_files_it_ends_when_a_worker_is_there() -> None:
    """There is nothing to do."""
    assert play({}, 1).check().text == ""


def test_a_host_that_goes_is_nobodys_fault() -> None:
    """What its worker was at is lost once; the rest runs elsewhere, and no attempt is counted."""
    one = Play({"test_a.py": File(5)})
    first = one.host()
    one.host()
    one.meet(first)
    for _ in range(4):
        first.step(first.procs["gw0"])
        one.meet(first)
    one.lose(first)
    one.settle()
    assert one.check().text == ""
    assert lost(one) == [("test_a.py", "test_1")]
    assert len(one.of(news.TestReported)) == 4


def test_who_was_given_up_is_fenced() -> None:
    """A frozen host comes back, says what it did, and nothing of it counts."""
    one = Play({"test_a.py": File(2)})
    frozen = one.host()
    one.meet(frozen)
    for _ in range(4):
        frozen.step(frozen.procs["gw0"])
    late = list(frozen.outbox)
    frozen.outbox.clear()
    frozen.there = False
    one.now += 20
    one.host()
    one.settle()
    count = len(one.shown)
    frozen.there = True
    for message in late:
        one.feed(Received(message, 0))
    assert len(one.shown) == count
    one.settle()
    assert "does not count on you" in frozen.done[0]
    assert frozen.procs["gw0"].gone
    assert one.check().text == ""


def test_events_that_are_told_twice_count_once() -> None:
    """A supervisor says again what was not accepted, and more."""
    one = Play({"test_a.py": File(3)})
    host = one.host()
    one.meet(host)
    for _ in range(5):
        host.step(host.procs["gw0"])
    told = [message for message in host.outbox if isinstance(message, m.WorkerTold)]
    every = tuple(event for message in told for event in message.events)
    accepted = []
    for upto in range(1, len(every) + 1):
        again = m.WorkerTold(
            job=JOB, supervisor=host.id, worker="gw0", number=0, events=every[:upto]
        )
        one.feed(Received(again, 0))
        accepted += [said.number for said in host.inbox if isinstance(said, m.ToldAccepted)]
    gap = m.WorkerTold(job=JOB, supervisor=host.id, worker="gw0", number=99, events=every[-1:])
    one.feed(Received(gap, 0))
    assert accepted[-1] == len(every)
    one.settle()
    assert one.check().text == ""
    assert set(one.begun.values()) == {1}


def test_a_stopped_job_tells_what_it_did_not_run() -> None:
    """The test that runs is finished; what was not begun is listed."""
    one = Play({"test_a.py": File(5), "test_b.py": File(5)})
    host = one.host()
    one.meet(host)
    for _ in range(4):
        host.step(host.procs["gw0"])
    one.meet(host)
    one.feed(Told(StopJob("stopping after 1 failures")))
    one.settle()
    ended = one.check()
    assert ended.text == "stopping after 1 failures"
    assert len(one.of(news.TestReported)) == 2
    assert len(ended.unrun) == 3
    assert ended.unopened == ("test_b.py",)


def test_a_late_host_is_told_that_it_is_over() -> None:
    """It need not wait."""
    one = play({"test_a.py": File(1)}, 1)
    late = one.host()
    one.feed(Received(m.JoinJob(job=JOB, supervisor=late.id, slots=1), 0))
    late.hear()
    assert late.done == ["the job is over"]


def test_a_group_is_run_by_one_worker_in_all_its_files() -> None:
    """Whoever opens them; files of one group alone go to who has it, and other tests are shared."""
    files = {f"test_{n}.py": File(6, groups=("a", "b", "", "a", "", "b")) for n in range(6)} | {
        f"test_b{n}.py": File(3, groups=("b",) * 3, whole=n == 1) for n in range(3)
    }
    for slots in ((1,), (3,), (2, 2)):
        one = play(files, *slots)
        assert one.check().text == ""
        assert set(one.begun.values()) == {1}
        assert set(one.holders) == {"a", "b"}
        ran = {shown.worker for shown in one.shown if isinstance(shown, news.TestReported)}
        assert len(ran) == sum(slots)


def test_groups_of_one_file_are_shared_as_wholes() -> None:
    """An idle worker takes groups that have not begun, and none is cut."""
    groups = tuple(name for name in "abcdefgh" for _ in range(10))
    one = play({"test_it.py": File(80, groups=groups)}, 4)
    assert one.check().text == ""
    assert len(set(one.holders.values())) == 4


def test_a_group_goes_on_elsewhere_when_its_worker_dies() -> None:
    """All of it with the next one who takes any of it."""
    files = {
        f"test_{n}.py": File(4, groups=("g",) * 4, kills=frozenset([1] if n == 2 else []))
        for n in range(4)
    }
    one = play(files, 2)
    assert one.check().text == ""
    assert lost(one) == [("test_2.py", "test_1")]


def test_who_comes_back_after_it_was_given_up_begins_anew() -> None:
    """Its old worker is ended: what that had, others have by now."""
    one = Play({"test_it.py": File(3), "test_next.py": File(3)})
    host = one.host()
    while not one.begun:
        one.meet(host)
        host.step(host.procs["gw0"])
    one.meet(host)
    one.cut(host, 0)
    one.now += 20
    one.feed(Woken())
    one.join(host)
    one.meet(host)
    assert host.procs["gw0"].gone
    assert not host.procs["gw1"].gone
    one.settle()
    assert one.check().text == ""
    assert lost(one) == [("test_it.py", "test_0")]
    assert max(one.begun.values()) == 1


def test_a_host_that_is_gone_is_missed_before_it_is_silent_for_long() -> None:
    """Nothing has to be said to it: it is asked for a word, and its inbox is not there."""
    one = Play({"test_it.py": File(3)})
    host = one.host()
    while not one.begun:
        one.meet(host)
        host.step(host.procs["gw0"])
    one.meet(host)
    one.lose(host)
    lost_at = one.now
    while not one.of(news.WorkerGone):
        one.now += 0.5
        one.feed(Woken())
    assert one.now - lost_at <= 7.5
    (gone,) = one.of(news.WorkerGone)
    assert isinstance(gone, news.WorkerGone)
    assert gone.died == "worker gw0 on h died: its supervisor vanished"
    one.host()
    one.settle()
    assert lost(one) == [("test_it.py", "test_0")]


def test_who_has_another_version_is_turned_away() -> None:
    """Both sides are told, the originator's once; another pytest is only told of."""
    one = Play({"test_it.py": File(1)})
    one.ledger.job.facts = replace(one.ledger.job.facts, version="0.2", pytest="9.2")
    strange = one.host()
    one.meet(strange)
    strange.feed(LinkUp())
    one.meet(strange)
    (told,) = one.of(news.ListenerFailed)
    assert isinstance(told, news.ListenerFailed)
    assert told.why == "its pytest-gatherscatter is 0, and 0.2 here: install the same on both"
    assert strange.done[0].startswith("the job is of pytest-gatherscatter 0.2, and this is 0: ")
    right = m.JoinJob(job=JOB, supervisor="0f" * 8, slots=1, version="0.2", pytest="8.4")
    one.feed(Received(right, 0))
    (line,) = one.of(news.LinesPrinted)
    assert line == news.LinesPrinted("gw0", "its pytest is 8.4, and 9.2 here\n")


@pytest.mark.parametrize("kept", range(4))
@pytest.mark.parametrize("moment", range(0, 40, 3))
def test_a_lost_connection_costs_nothing(moment: int, kept: int) -> None:
    """Whatever was on its way is said again: nobody is given up, nothing is run twice."""
    one = Play({f"test_{n}.py": File(6, groups=("g", "", "h") * 2) for n in range(6)})
    host = one.host(2)
    happens = {
        moment: lambda: one.cut(host, kept),
        moment + 2: lambda: one.join(host),
        moment + 5: one.cut_originator,
        moment + 7: one.join_originator,
    }
    for step in range(60):
        happens.get(step, lambda: None)()
        for proc in list(host.procs.values()):
            one.step(host, proc)
        if step % 3 and host.outbox and one.linked:
            one.deliver(host)
        if host.inbox:
            host.hear()
    one.settle()
    assert one.check().text == ""
    assert set(one.begun.values()) == {1}
    assert len(one.of(news.TestReported)) == 36


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans()), max_size=6))
def test_where_nobody_dies_all_is_reported_and_run_once(
    like: list[tuple[int, bool, bool]],
) -> None:
    """Strange files, whole files, empty ones: shared or not, nothing is lost."""
    files = {
        f"test_{number}.py": File(tests, strange=strange, whole=whole)
        for number, (tests, strange, whole) in enumerate(like)
    }
    one = play(files, 2, 1)
    assert one.check().text == ""
    assert set(one.begun.values()) <= {1}
    assert lost(one) == []
    assert not [gone for gone in one.shown if isinstance(gone, news.WorkerGone) and gone.died]


def like_file(*, grouped: bool, **fields: Any) -> File:  # noqa: ANN401 - as File has them
    """Make a file, perhaps with tests of two groups, unless it has other tests each time."""
    grouped = grouped and not fields["strange"]
    names = ("g",) if fields["whole"] else ("g", "", "h", "", "g")
    return File(**fields, groups=(names * fields["tests"])[: fields["tests"]] if grouped else ())


files_of = st.dictionaries(
    st.sampled_from([f"test_{name}.py" for name in "abcdefgh"]),
    st.builds(
        like_file,
        grouped=st.booleans(),
        tests=st.integers(0, 12),
        kills=st.frozensets(st.integers(0, 11), max_size=2),
        kills_import=st.sampled_from([False] * 9 + [True]),
        strange=st.sampled_from([False] * 4 + [True]),
        whole=st.booleans(),
        seconds=st.sampled_from([0.0, 0.01, 1.0]),
    ),
    min_size=1,
)


@settings(max_examples=300, deadline=None)
@given(files_of, st.integers(0, 2), st.data())
def test_whatever_happens_all_is_told_once(
    files: dict[str, File], retries: int, data: st.DataObject
) -> None:
    """Hosts come, die, freeze and are cut off; workers are killed; the order is anybody's."""
    one = Play(files, retries=retries)
    one.host(data.draw(st.integers(1, 3)))
    for _ in range(data.draw(st.integers(0, 60))):
        happens(one, data)
    if all(not host.there or host.done for host in one.hosts.values()):
        one.host(2)
    one.settle()
    ended = one.check()
    if not ended.text:
        assert {file for file, _ in one.begun} <= set(files)


def happens(one: Play, data: st.DataObject) -> None:
    """Let one thing happen."""
    what = data.draw(st.sampled_from(["deliver", "hear", "step", "step", "step", "rare"]))
    hosts = list(one.hosts.values())
    host: Host = data.draw(st.sampled_from(hosts))
    if what == "deliver" and host.outbox:
        one.deliver(host)
    elif what == "hear" and host.inbox and host.there:
        host.hear()
    elif what == "step" and host.procs and host.there:
        one.step(host, host.procs[data.draw(st.sampled_from(sorted(host.procs)))])
    elif what == "rare":
        strikes(one, host, data)


def strikes(one: Play, host: Host, data: st.DataObject) -> None:
    """Let somebody come or die."""
    kinds = ["come", "kill", "lose", "late", "stop", "cut", "join", "cut us", "join us"]
    how = data.draw(st.sampled_from(kinds))
    if how == "come" and len(one.hosts) < 4:
        one.host(data.draw(st.integers(1, 3)))
    elif how == "kill" and host.there and host.procs:
        host.kill(host.procs[data.draw(st.sampled_from(sorted(host.procs)))], "SIGKILL")
    elif how == "lose":
        one.lose(host)
    elif how == "late":
        one.now += data.draw(st.sampled_from([1.0, 9.0, 11.0]))
    elif how == "stop" and data.draw(st.booleans()):
        one.feed(Told(StopJob("enough")))
    elif how == "cut" and host.there:
        one.cut(host, data.draw(st.integers(0, 3)))
    elif how == "join" and host.there:
        one.join(host)
    elif how == "cut us":
        one.cut_originator()
    elif how == "join us":
        one.join_originator()


def test_how_it_ended_is_said_to_who_records() -> None:
    """The ledger knows what was found, pytest how it went; the confirm is waited for."""
    one = play({"test_a.py": File(3), "test_b.py": File(2)}, 2)
    one.check()
    counts = {"passed": 3, "failed": 1, "error": 1, "deselected": 7}
    effects = one.ledger.handle(Told(news.Summary(2.5, counts)), now=one.now)
    (event,) = [effect for effect in effects if isinstance(effect, Publish)]
    told = event.message
    assert event.key == f"job.finished.{JOB}"
    assert isinstance(told, m.JobFinished)
    assert (told.files, told.tests, told.workers, told.unrun, told.seconds) == (2, 5, 2, 0, 2.5)
    assert (told.passed, told.failed, told.errors, told.skipped, told.text) == (3, 1, 1, 0, "")
    assert one.ledger.job.said
    one.ledger.handle(Confirmed(event.id), now=one.now)
    assert not one.ledger.job.said
