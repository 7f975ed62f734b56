"""The short form of the fuzzing: what is known to be hard, and some changes of it, each run alike.

The corpus is what clients sent to RabbitMQ in the contract tests, cut down to what covers the
broker's code, and what the long form found. ``fuzz.py`` beside this is the long form.
"""

import random
import tracemalloc

import pytest
from fuzzplay import CORPUS, LIMITS, MOST_AT_ONCE, frames, logged_in, mutate, play
from pamqp import body, commands, header
from pamqp import frame as pamqp_frame

from pytest_gatherscatter.embedded.hub import Hub, Login

INPUTS = {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}


def test_the_corpus_is_there_and_small() -> None:
    """Real traffic, in less than 200 KiB."""
    assert len(INPUTS) > 50
    assert sum(map(len, INPUTS.values())) < 200 * 1024
    assert any(data.startswith(b"AMQP") for data in INPUTS.values())


@pytest.mark.parametrize("name", INPUTS)
def test_what_is_known_is_survived_however_it_is_cut(name: str) -> None:
    """Whole and octet by octet it gets the same answers, and the neighbour is served."""
    data = INPUTS[name]
    assert play(data) == play(data, step=1 + len(data) // 64)


def test_changes_of_it_are_survived() -> None:
    """A thousand streams with frames repeated, cut, moved and changed: right refusals only."""
    _play_changes(1000, seed=20260101)


def test_changes_of_it_take_bounded_memory() -> None:
    """Whatever one connection asks, and with all that the playing itself keeps."""
    tracemalloc.start()
    try:
        _play_changes(100, seed=2)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 32 * 1024 * 1024


def _play_changes(count: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - each run alike
    known = list(INPUTS.values())
    for _ in range(count):
        data = chance.choice(known)
        for _ in range(chance.randint(1, 4)):
            data = mutate(chance, data, chance.choice(known)[:500])
        play(data)


def test_the_changes_reach_both_ends() -> None:
    """Some are refused and some are not: else the test before would try nothing."""
    chance = random.Random(7)  # noqa: S311 - each run alike
    data = pamqp_frame.marshal(commands.Queue.Declare(queue="q", durable=True), 1)
    answers = [play(mutate(chance, data, data)) for _ in range(60)]
    closed = [b"\x00\x0a\x00\x32" in answer or b"\x00\x14\x00\x28" in answer for answer in answers]
    assert 0 < sum(closed) < len(closed)


def test_small_questions_with_large_answers_are_answered_bit_by_bit() -> None:
    """A message that is taken and given back a thousand times in one breath fills no memory."""
    hub = Hub(Login("guest", "guest"), limits=LIMITS)
    session = logged_in(hub, 1)
    content = bytes(LIMITS.message)
    for frame in (
        commands.Queue.Declare(queue="q", durable=True),
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(0, len(content)),
        body.ContentBody(content),
    ):
        session.receive(pamqp_frame.marshal(frame, 1), 0.0)
    session.take()
    taken, asked = 0, b""
    for number in range(1, 1001):
        asked += pamqp_frame.marshal(commands.Basic.Get(queue="q"), 1)
        asked += pamqp_frame.marshal(commands.Basic.Reject(number, requeue=True), 1)
    session.receive(asked, 0.0)
    while True:
        said = session.take()
        assert len(said) <= MOST_AT_ONCE
        taken += sum(part[0] == 2 for part in frames(said))
        if not session.choked:
            break
        session.proceed(0.0)
    assert taken == 1000
