"""The machine of an echo worker and that of its clients, told things by hand."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from pytest_gatherscatter import machine
from pytest_gatherscatter.answering import AGAIN, KEPT, MOST_REMEMBERED, TRIES, UNWANTED
from pytest_gatherscatter.asking import LATE, Ask, Ended
from pytest_gatherscatter.broker.port import Verdict
from pytest_gatherscatter.machine import Effect, Keep, Received, Run, Send, Settle, Told
from pytest_gatherscatter.roundrobin.asker import ClientMachine, StillWorking
from pytest_gatherscatter.roundrobin.echo import (
    LAST,
    MOST_BYTES,
    EchoDone,
    EchoFacts,
    EchoMachine,
    StopTaking,
)
from pytest_gatherscatter.roundrobin.order import Drain, Say
from pytest_gatherscatter.wire.roundrobin import Execute, Executed, Working

WALL = 1_000_000.0
REPLY = "client.0123456789abcdef"
OTHER = "client.fedcba9876543210"


class Lab:
    """An echo worker, and what it says; its ``slots`` are two."""

    def __init__(self, slots: int = 2) -> None:
        self.machine = EchoMachine(EchoFacts("echo-1", "host", "echo", slots, drain=60.0))
        self.now = 0.0
        self.deliveries = 0
        self.tell(machine.Recovered((), WALL))
        self.tell(machine.LinkUp())

    def tell(self, message: machine.Input, after: float = 0.0) -> list[Effect]:
        """Tell it something, after some seconds."""
        self.now += after
        return self.machine.handle(message, now=self.now)

    def ask(
        self,
        id_: str,
        command: str = "PING",
        payload: object = None,
        seconds: float = 100.0,
        **said: Any,  # noqa: ANN401 - of the message, or of how it comes
    ) -> list[Effect]:
        """Let a task come."""
        self.deliveries += 1
        how = {"reply_to": REPLY, "redelivered": False}
        how |= {key: said.pop(key) for key in tuple(how) if key in said}
        task = Execute(
            task=id_,
            service=said.pop("service", "echo"),
            command=command,
            payload=Raw(msgspec.json.encode(payload)),
            deadline=WALL + self.now + seconds,
            created=WALL + self.now,
            tracked=said.pop("tracked", True),
            **said,
        )
        return self.tell(Received(task, self.deliveries, **how))  # type: ignore[arg-type]

    def confirm(self, effects: list[Effect]) -> list[Effect]:
        """Have the broker confirm what is sent, and return what that leads to."""
        return [more for one in sends(effects) for more in self.tell(machine.Confirmed(one.id))]


def sends(effects: list[Effect]) -> list[Send]:
    """What goes to somebody."""
    return [one for one in effects if isinstance(one, Send)]


def answers(effects: list[Effect]) -> list[Executed]:
    """The answers that are said."""
    return [one.message for one in sends(effects) if isinstance(one.message, Executed)]


def wakes(effects: list[Effect]) -> list[float]:
    """When it wants to be woken."""
    return [one.at for one in effects if isinstance(one, machine.Wake)]


def outcomes(effects: list[Effect]) -> dict[str, str]:
    """How tasks ended."""
    return {one.task: one.outcome for one in answers(effects)}


def settled(effects: list[Effect]) -> list[tuple[int, Verdict]]:
    """What is settled."""
    return [(one.delivery, one.verdict) for one in effects if isinstance(one, Settle)]


def commands(effects: list[Effect], kind: type) -> list[Any]:
    """What is asked of the process, of one kind."""
    runs = [one.command for one in effects if isinstance(one, Run)]
    return [one for one in runs if isinstance(one, kind)]


# ── the worker ─────────────────────────────────────────────────────────────────────────


def test_a_task_is_settled_when_its_answer_is_confirmed() -> None:
    """Not before; its answer goes straight to its client, and it is not begun again."""
    lab = Lab()
    said = lab.ask("aaaaaaaa", payload={"v": [1, 2]})
    (answer,) = answers(said)
    assert (answer.outcome, bytes(answer.payload)) == ("done", b'{"v":[1,2]}')
    assert (answer.worker, answer.host) == ("echo-1", "host")
    assert sends(said)[0].key == REPLY
    assert settled(said) == []
    assert any(isinstance(one, Keep) for one in said)
    assert settled(lab.confirm(said)) == [(1, Verdict.ACK)]
    again = lab.ask("aaaaaaaa", redelivered=True)
    assert (sends(again), settled(again)) == ([], []), "acked by rule 4, not begun"
    assert (lab.machine.done, lab.machine.failed) == (1, 0)


@pytest.mark.parametrize(
    ("command", "payload", "outcome", "said"),
    [
        ("STREAM", {"bytes": 1024}, "done", '"' + "." * 1024 + '"'),
        ("STREAM", {"bytes": 0}, "done", '""'),
        ("STREAM", {"bytes": MOST_BYTES}, "done", '"' + "." * MOST_BYTES + '"'),
        ("STREAM", {"bytes": MOST_BYTES + 1}, "failed", "STREAM: its payload is wrong: "),
        ("STREAM", {"bytes": -1}, "failed", "STREAM: its payload is wrong: "),
        ("STREAM", {"byte": 1}, "failed", "STREAM: its payload is wrong: "),
        ("STREAM", None, "failed", "STREAM: its payload is wrong: "),
        ("SLEEP", {"seconds": 1e300}, "failed", "SLEEP: its payload is wrong: "),
        ("SLEEP", {"seconds": "1"}, "failed", "SLEEP: its payload is wrong: "),
        ("PING", "x" * MOST_BYTES, "failed", "a payload of 1000002 bytes, 1000000 are allowed"),
        ("ping", None, "failed", "no command 'ping'; allowed are PING, STREAM, SLEEP"),
    ],
)
def test_commands_and_what_is_none(command: str, payload: object, outcome: str, said: str) -> None:
    """Each is answered, and a wrong one with what is allowed."""
    (answer,) = answers(Lab().ask("aaaaaaaa", command, payload))
    assert answer.outcome == outcome
    assert said in (answer.text if outcome == "failed" else bytes(answer.payload).decode())


def test_a_task_without_an_answer_is_settled_at_once() -> None:
    """EXEC: nobody is told how it ended, whoever asked; a failure is logged."""
    lab = Lab()
    said = lab.ask("aaaaaaaa", tracked=False, reply_to=None)
    assert (sends(said), settled(said)) == ([], [(1, Verdict.ACK)])
    said = lab.ask("bbbbbbbb", "none", tracked=False)
    assert (sends(said), settled(said)) == ([], [(2, Verdict.ACK)])
    assert [one.wrong for one in commands(said, Say)] == [True]
    assert settled(lab.ask("aaaaaaaa", tracked=False, redelivered=True)) == []
    assert (lab.machine.done, lab.machine.failed) == (1, 1)


def test_a_long_task_says_that_it_is_worked_on() -> None:
    """After one second, and then every five; what nobody hears of that changes nothing."""
    lab = Lab()
    assert {1.0, 8.0} <= {*wakes(lab.ask("aaaaaaaa", "SLEEP", {"seconds": 8}))}
    assert 1.0 not in wakes(lab.ask("bbbbbbbb", "SLEEP", {"seconds": 8}, tracked=False))
    heard = []
    for _ in range(7):
        effects = lab.tell(machine.Woken(), 1.0)
        for one in sends(effects):
            assert isinstance(one.message, Working)
            heard.append((one.message.task, one.message.took))
            assert lab.tell(machine.Returned(one.id)) == []
            assert lab.now + 5.0 in wakes(effects)
    assert heard == [("aaaaaaaa", 1.0), ("aaaaaaaa", 6.0)]
    said = lab.tell(machine.Woken(), 1.0)
    assert outcomes(said) == {"aaaaaaaa": "done"}
    assert answers(said)[0].took == 8.0
    assert settled(said) == [(2, Verdict.ACK)]
    assert lab.machine.seconds == 16.0


def test_no_more_run_than_there_are_slots() -> None:
    """Others wait: for a slot, or for the end of their time; all wakes are told of."""
    lab = Lab(slots=1)
    lab.ask("a0000001", "SLEEP", {"seconds": 10})
    late = lab.ask("a0000002", seconds=4.0)
    assert answers(late) == []
    assert wakes(late) == [4.0]
    assert answers(lab.ask("a0000003")) == []
    assert outcomes(lab.tell(machine.Woken(), 4.0)) == {"a0000002": "expired"}
    assert outcomes(lab.tell(machine.Woken(), 6.0)) == {"a0000001": "done", "a0000003": "done"}


def test_deadlines_are_kept() -> None:
    """What comes too late is not begun; what sleeps beyond its time fails with it."""
    lab = Lab()
    assert outcomes(lab.ask("aaaaaaaa", seconds=-1.0)) == {"aaaaaaaa": "expired"}
    said = lab.ask("bbbbbbbb", "SLEEP", {"seconds": 50}, seconds=7.0)
    assert 7.0 in wakes(said)
    assert outcomes(lab.tell(machine.Woken(), 7.0)) == {"bbbbbbbb": "failed"}


def test_what_somebody_may_have_begun_runs_again_only_if_it_may() -> None:
    """Else its client hears that its worker is lost."""
    lab = Lab()
    assert outcomes(lab.ask("aaaaaaaa", redelivered=True)) == {"aaaaaaaa": "worker-lost"}
    assert answers(lab.ask("aaaaaaaa", redelivered=True)) == [], "that is on its way"
    assert outcomes(lab.ask("bbbbbbbb", redelivered=True, rerun=True)) == {"bbbbbbbb": "done"}


def test_a_lost_connection_loses_no_answer() -> None:
    """What runs is adopted when it comes again; what was said with no outcome is said again."""
    lab = Lab()
    lab.ask("aaaaaaaa", "SLEEP", {"seconds": 3})
    said = lab.ask("bbbbbbbb")
    lab.tell(machine.Failed(sends(said)[0].id, "lost"))
    lab.tell(machine.LinkDown("lost"))
    assert sends(lab.tell(machine.Woken(), 3.0)) == [], "nobody can be told"
    back = lab.tell(machine.LinkUp())
    assert outcomes(back) == {"aaaaaaaa": "done", "bbbbbbbb": "done"}
    adopted = lab.ask("aaaaaaaa", redelivered=True)
    assert answers(adopted) == []
    assert any(isinstance(one, Keep) for one in adopted)
    assert settled(lab.confirm(back)) == [(3, Verdict.ACK)]
    assert settled(lab.ask("bbbbbbbb", redelivered=True)) == [], "acked by rule 4"
    assert lab.machine.done == 2


def test_a_broker_that_has_forgotten_all_may_ask_again() -> None:
    """What was answered before it was started anew is done again; its client wants that."""
    lab = Lab()
    lab.tell(machine.LinkUp("first"))
    lab.confirm(lab.ask("aaaaaaaa", rerun=True))
    lab.tell(machine.LinkDown("lost"))
    lab.tell(machine.LinkUp("first"))
    assert answers(lab.ask("aaaaaaaa", rerun=True, redelivered=True)) == []
    lab.tell(machine.LinkUp("second"))
    assert outcomes(lab.ask("aaaaaaaa", rerun=True)) == {"aaaaaaaa": "done"}


def test_of_two_copies_one_is_acked() -> None:
    """A task in hand that comes once more is neither begun nor kept."""
    lab = Lab()
    lab.ask("aaaaaaaa", "SLEEP", {"seconds": 3})
    again = lab.ask("aaaaaaaa", "SLEEP", {"seconds": 3})
    assert not any(isinstance(one, Keep | Settle | Send) for one in again)


def test_what_waits_and_lost_its_connection_waits_to_come_again() -> None:
    """Whoever has it by then does it; it is begun here only if it came back here."""
    lab = Lab(slots=1)
    lab.ask("a0000001", "SLEEP", {"seconds": 10})
    lab.ask("a0000002")
    lab.ask("a0000003", seconds=15.0)
    lab.tell(machine.LinkDown("lost"))
    lab.tell(machine.LinkUp())
    assert outcomes(lab.tell(machine.Woken(), 10.0)) == {"a0000001": "done"}
    assert outcomes(lab.ask("a0000002", redelivered=True)) == {"a0000002": "done"}
    assert answers(lab.tell(machine.Woken(), 5.0)) == [], "whoever has it now says that it is late"
    left = [*commands(lab.tell(Told(Drain(at_once=True))), EchoDone)]
    left += commands(lab.tell(machine.Woken(), LAST), EchoDone)
    assert left == [EchoDone((), ("a0000001", "a0000002"))], "of it nothing is left"


def test_an_answer_that_nobody_takes_is_kept_for_a_while() -> None:
    """Then its task is set aside; what follows for the same client is not waited for."""
    lab = Lab()
    effects = lab.ask("aaaaaaaa")
    until = lab.now + KEPT
    while lab.now < until:
        assert settled(lab.tell(machine.Returned(sends(effects)[0].id))) == []
        effects = lab.tell(machine.Woken(), AGAIN)
    gone = lab.tell(machine.Returned(sends(effects)[0].id))
    assert settled(gone) == [(1, Verdict.DEAD)]
    assert "its client is gone" in commands(gone, Say)[0].text
    next_ = lab.ask("bbbbbbbb")
    assert settled(lab.tell(machine.Returned(sends(next_)[0].id))) == [(2, Verdict.DEAD)]
    other = lab.ask("cccccccc", reply_to=OTHER)
    assert settled(lab.tell(machine.Returned(sends(other)[0].id))) == []


def test_an_answer_is_kept_no_longer_than_anybody_waits() -> None:
    """Not for ten seconds where the deadline was long ago."""
    lab = Lab()
    said = lab.ask("aaaaaaaa", seconds=-UNWANTED)
    assert settled(lab.tell(machine.Returned(sends(said)[0].id))) == [(1, Verdict.DEAD)]


def test_an_answer_that_cannot_be_said_is_given_up() -> None:
    """Bounded tries over one connection; a new one begins them again."""
    lab = Lab()
    effects = lab.ask("aaaaaaaa", seconds=1000.0)
    for number in range(TRIES + 5):
        if number == 5:
            lab.tell(machine.Failed(sends(effects)[0].id, "lost"))
            lab.tell(machine.LinkDown("lost"))
            effects = lab.tell(machine.LinkUp())
            lab.ask("aaaaaaaa", redelivered=True)
        lab.tell(machine.Failed(sends(effects)[0].id, "too large"))
        effects = lab.tell(machine.Woken(), AGAIN)
    assert settled(effects) == [(2, Verdict.DEAD)]


@pytest.mark.parametrize(
    "said", [{"reply_to": None}, {"reply_to": "agent.scope"}, {"service": "other"}]
)
def test_what_cannot_be_a_clients_is_set_aside(said: dict[str, Any]) -> None:
    """Nobody's inbox but a client's is answered to, and no other service's tasks are done."""
    effects = Lab().ask("aaaaaaaa", **said)
    assert (sends(effects), settled(effects)) == ([], [(1, Verdict.DEAD)])


def test_other_messages_are_set_aside() -> None:
    """Whoever sends an answer to a service's queue has no answer."""
    answer = Executed(task="aaaaaaaa", service="echo", outcome="done")
    effects = Lab().tell(Received(answer, 1, reply_to=REPLY))
    assert (sends(effects), settled(effects)) == ([], [(1, Verdict.DEAD)])


def test_who_sent_what_nobody_can_read_is_told() -> None:
    """If the message says who it was, and which one."""
    lab = Lab()
    facts = {"reply_to": REPLY, "correlation": "aaaaaaaa", "queue": "gs.x.service.echo"}
    assert outcomes(lab.tell(machine.Unreadable("no JSON", **facts))) == {"aaaaaaaa": "undecodable"}
    assert lab.machine.failed == 1
    for key, wrong in (
        ("reply_to", "agent.scope"),
        ("correlation", "no id"),
        ("queue", "gs.x.service.other"),
    ):
        assert lab.tell(machine.Unreadable("no JSON", **facts | {key: wrong})) == []


def test_a_drain_ends_what_runs_and_gives_back_what_waits() -> None:
    """What waits goes back to where it came from, as does what still comes."""
    lab = Lab(slots=1)
    lab.ask("a0000001", "SLEEP", {"seconds": 3})
    lab.ask("a0000002", seconds=2.0)
    draining = lab.tell(Told(Drain()))
    assert commands(draining, StopTaking)
    assert settled(draining) == [(2, Verdict.REQUEUE)]
    assert settled(lab.ask("a0000003")) == [(3, Verdict.REQUEUE)]
    assert commands(lab.tell(Told(Drain())), StopTaking) == [], "it has stopped"
    ended = lab.tell(machine.Woken(), 3.0)
    assert outcomes(ended) == {"a0000001": "done"}
    (done,) = commands(lab.confirm(ended), EchoDone)
    assert done == EchoDone(("a0000002", "a0000003"), ())
    assert lab.tell(machine.Woken(), 1.0) == [], "that is said once"


def test_a_drain_is_bounded() -> None:
    """Then what may run twice is given back, and the others' clients hear that it was lost."""
    lab = Lab()
    lab.ask("a0000001", "SLEEP", {"seconds": 90}, rerun=True)
    lab.ask("a0000002", "SLEEP", {"seconds": 90})
    assert 60.0 in wakes(lab.tell(Told(Drain())))
    assert commands(lab.tell(machine.Woken(), 59.0), EchoDone) == []
    said = lab.tell(machine.Woken(), 1.0)
    assert outcomes(said) == {"a0000002": "worker-lost"}
    assert settled(said) == [(1, Verdict.REQUEUE)]
    assert 60.0 + LAST in wakes(said)
    (done,) = commands(lab.tell(machine.Woken(), LAST), EchoDone)
    assert done == EchoDone(("a0000001",), ("a0000002",)), "its answer was never confirmed"


def test_a_drain_at_once() -> None:
    """A second signal waits for nothing that runs, nor for clients that are gone."""
    lab = Lab()
    lab.ask("a0000001", "SLEEP", {"seconds": 90})
    said = lab.ask("a0000002")
    lab.tell(machine.Returned(sends(said)[0].id))
    lab.tell(Told(Drain()))
    said = lab.tell(Told(Drain(at_once=True)))
    assert outcomes(said) == {"a0000001": "worker-lost"}
    assert commands(lab.confirm(said), EchoDone) == []
    again = lab.tell(machine.Woken(), AGAIN)
    done = lab.tell(machine.Returned(sends(again)[0].id))
    assert commands(done, EchoDone) == [EchoDone((), ("a0000002",))]
    assert settled(done) == [(2, Verdict.DEAD)]


def test_what_is_remembered_is_bounded() -> None:
    """The oldest is forgotten first."""
    lab = Lab()
    for number in range(MOST_REMEMBERED + 1):
        lab.ask(f"{number:08x}", tracked=False)
    assert settled(lab.ask(f"{1:08x}", tracked=False)) == [], "it is known"
    assert settled(lab.ask(f"{0:08x}", tracked=False)) != [], "it is done again"


# ── its client ─────────────────────────────────────────────────────────────────────────


def execute(id_: str, *, tracked: bool = True, rerun: bool = False) -> Execute:
    """A task."""
    return Execute(
        task=id_, service="echo", command="PING", deadline=WALL, tracked=tracked, rerun=rerun
    )


def ends(effects: list[Effect]) -> list[tuple[str, str]]:
    """How tasks ended at their client."""
    return [(one.answer.task, one.answer.outcome) for one in commands(effects, Ended)]


def test_a_client_takes_the_first_answer() -> None:
    """A second one is nobody's; that it is worked on is told, and keeps its deadline."""
    client = ClientMachine("0123456789abcdef", window=2)
    client.handle(machine.LinkUp(), now=0.0)
    (sent,) = sends(client.handle(Told(Ask(execute("aaaaaaaa"), 10.0)), now=0.0))
    assert (sent.key, sent.reply_to) == ("service.echo", REPLY)
    assert ends(client.handle(machine.Confirmed(sent.id), now=0.0)) == []
    word = Working(task="aaaaaaaa", worker="echo-1", took=1.0)
    assert commands(client.handle(Received(word, 1), now=1.0), StillWorking) == [StillWorking(word)]
    answer = Executed(task="aaaaaaaa", service="echo", outcome="done")
    assert ends(client.handle(Received(answer, 2), now=2.0)) == [("aaaaaaaa", "done")]
    late = msgspec.structs.replace(answer, outcome="worker-lost")
    assert ends(client.handle(Received(late, 3), now=2.0)) == []
    assert commands(client.handle(Received(word, 4), now=3.0), StillWorking) == []
    assert client.left == 0


def test_a_client_hears_at_once_that_there_is_no_service() -> None:
    """And that nobody has answered, in its time."""
    client = ClientMachine("0123456789abcdef", window=2)
    client.handle(machine.LinkUp(), now=0.0)
    (sent,) = sends(client.handle(Told(Ask(execute("aaaaaaaa"), 10.0)), now=0.0))
    refused = client.handle(machine.Returned(sent.id), now=0.0)
    assert ends(refused) == [("aaaaaaaa", "refused")]
    assert "no service echo" in commands(refused, Ended)[0].answer.text
    client.handle(Told(Ask(execute("bbbbbbbb"), 10.0)), now=0.0)
    word = Working(task="bbbbbbbb", worker="echo-1", took=9.0)
    client.handle(Received(word, 1), now=9.0)
    assert ends(client.handle(machine.Woken(), now=10.0)) == []
    assert ends(client.handle(machine.Woken(), now=10.0 + LATE)) == [("bbbbbbbb", "no-response")]


def test_without_an_answer_the_brokers_word_is_the_end() -> None:
    """EXEC: said again where that was lost with a connection; the window is for those, too."""
    client = ClientMachine("0123456789abcdef", window=1)
    client.handle(machine.LinkUp(), now=0.0)
    blind = execute("aaaaaaaa", tracked=False)
    (sent,) = sends(client.handle(Told(Ask(blind, 10.0)), now=0.0))
    assert sends(client.handle(Told(Ask(execute("bbbbbbbb"), 10.0)), now=0.0)) == []
    client.handle(machine.Failed(sent.id, "lost"), now=1.0)
    client.handle(machine.LinkDown("lost"), now=1.0)
    (again,) = sends(client.handle(machine.LinkUp(), now=2.0))
    assert again.message == blind
    ended = client.handle(machine.Confirmed(again.id), now=2.0)
    assert ends(ended) == [("aaaaaaaa", "done")]
    (next_,) = sends(ended)
    assert next_.message.task == "bbbbbbbb"  # type: ignore[attr-defined]


def test_a_client_asks_again_what_may_run_twice() -> None:
    """Where a broker was started anew, and has forgotten all; what may not has no answer then."""
    client = ClientMachine("0123456789abcdef", window=2)
    client.handle(machine.LinkUp("first"), now=0.0)
    for task in (execute("aaaaaaaa", rerun=True), execute("bbbbbbbb")):
        for one in sends(client.handle(Told(Ask(task, 10.0)), now=0.0)):
            client.handle(machine.Confirmed(one.id), now=0.0)
    client.handle(machine.LinkDown("lost"), now=1.0)
    again = sends(client.handle(machine.LinkUp("second"), now=2.0))
    assert [one.message.task for one in again] == ["aaaaaaaa"]  # type: ignore[attr-defined]
