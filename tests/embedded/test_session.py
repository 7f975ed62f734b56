"""One connection's protocol without a socket: greeting, channels, refusals, time and the end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import base, body, commands, header
from pamqp import frame as pamqp_frame
from pamqp.common import FieldTable
from pamqp.heartbeat import Heartbeat

from pytest_gatherscatter.embedded.frames import (
    FRAME_MAX,
    HEARTBEAT_FRAME,
    PROTOCOL_HEADER,
    encode_frame,
)
from pytest_gatherscatter.embedded.hub import Hub, Limits, Login
from pytest_gatherscatter.embedded.record import Profile
from pytest_gatherscatter.embedded.refusal import UNSUPPORTED
from pytest_gatherscatter.embedded.session import Phase, Session

LOGIN = Login("me", "secret")
CAPABLE: FieldTable = {
    "capabilities": {
        "authentication_failure_close": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
    }
}


def parse(data: bytes) -> list[Any]:
    """Everything that a broker sent, as pamqp reads it."""
    found: list[Any] = []
    while data:
        size, _, frame = pamqp_frame.unmarshal(data)
        found.append(frame)
        data = data[size:]
    return found


class Client:
    """A session and somebody who talks to it, in virtual time."""

    def __init__(self, hub: Hub, number: int = 1, *, login: bool = True) -> None:
        self.hub = hub
        self.now = 0.0
        self.session = Session(hub, number, self.now)
        if login:
            self.raw(PROTOCOL_HEADER)
            self.say(commands.Connection.StartOk(CAPABLE, "PLAIN", "\0me\0secret"), on=0)
            self.say(commands.Connection.TuneOk(hub.limits.channels, FRAME_MAX, 10), on=0)
            (opened,) = self.say(commands.Connection.Open(), on=0)
            assert isinstance(opened, commands.Connection.OpenOk)
            self.say(commands.Channel.Open(), on=1)

    def raw(self, data: bytes) -> list[Any]:
        """Send bytes, get the answers."""
        self.session.receive(data, self.now)
        return self.heard()

    def heard(self) -> list[Any]:
        """What has come since the last look."""
        return parse(self.session.take())

    def say(self, *frames: Any, on: int = 1) -> list[Any]:  # noqa: ANN401
        """Send frames, get the answers."""
        return self.raw(b"".join(pamqp_frame.marshal(frame, on) for frame in frames))

    def publish(
        self,
        content: bytes = b"x",
        key: str = "q",
        *,
        exchange: str = "",
        mandatory: bool = False,
        **properties: Any,  # noqa: ANN401
    ) -> list[Any]:
        """Publish one message."""
        parts: list[Any] = [
            commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory),
            header.ContentHeader(0, len(content), commands.Basic.Properties(**properties)),
        ]
        if content:
            parts.append(body.ContentBody(content))
        return self.say(*parts)


def hub(**limits: Any) -> Hub:  # noqa: ANN401
    """A broker with these limits."""
    return Hub(LOGIN, limits=Limits(**limits))


def client(**limits: Any) -> Client:  # noqa: ANN401
    """A logged-in client with channel 1 and a queue ``q`` at a broker of its own."""
    made = Client(hub(**limits))
    made.say(commands.Queue.Declare(queue="q", durable=True))
    return made


def only(frames: list[Any], kind: type[base.Frame]) -> Any:  # noqa: ANN401
    """The one frame, which must be of this kind."""
    (frame,) = frames
    assert isinstance(frame, kind)
    return frame


# The greeting


def test_start_says_what_this_broker_can() -> None:
    """The capabilities are RabbitMQ's, as far as they are true."""
    made = Client(hub(), login=False)
    assert made.raw(PROTOCOL_HEADER[:5]) == []
    start = only(made.raw(PROTOCOL_HEADER[5:]), commands.Connection.Start)
    assert start.mechanisms == "PLAIN"
    capabilities = start.server_properties["capabilities"]
    assert capabilities["publisher_confirms"] is True
    assert capabilities["connection.blocked"] is True
    assert capabilities["direct_reply_to"] is False


def test_tune_offers_rabbitmqs_values() -> None:
    """2047 channels, frames of 128 KiB, a heartbeat of 60 s."""
    made = Client(hub(), login=False)
    made.raw(PROTOCOL_HEADER)
    tune = only(
        made.say(commands.Connection.StartOk({}, "PLAIN", "\0me\0secret"), on=0),
        commands.Connection.Tune,
    )
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


@pytest.mark.parametrize(
    "greeting", [b"AMQP\x01\x01\x00\x09", b"GET / HT", b"\x16\x03\x01\0\0\0\0\0"]
)
def test_a_stranger_is_told_the_protocol(greeting: bytes) -> None:
    """Another version, another protocol: the header that would be understood, and the end."""
    made = Client(hub(), login=False)
    made.session.receive(greeting, 0.0)
    assert made.session.take() == PROTOCOL_HEADER
    assert made.session.closed


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", "\0me\0wrong"),
        ("PLAIN", ""),
        ("AMQPLAIN", "\0me\0secret"),
        ("PLAIN", "\0you\0secret"),
    ],
)
def test_a_wrong_login_is_403(mechanism: str, response: str) -> None:
    """Told to those who can hear it; others find their socket closed, as with RabbitMQ."""
    made = Client(hub(), login=False)
    made.raw(PROTOCOL_HEADER)
    answer = made.say(commands.Connection.StartOk(CAPABLE, mechanism, response), on=0)
    close = only(answer, commands.Connection.Close)
    assert close.reply_code == 403
    assert "secret" not in close.reply_text
    older = Client(hub(), login=False)
    older.raw(PROTOCOL_HEADER)
    assert older.say(commands.Connection.StartOk({}, mechanism, response), on=0) == []
    assert older.session.closed


@pytest.mark.parametrize(
    ("tuned", "told"),
    [
        ((3000, 131072), "channel_max = 3000 is higher than the maximum allowed value (2047)"),
        ((0, 131072), "channel_max = 0 is higher than the maximum allowed value (2047)"),
        ((10, 8191), "frame_max = 8191 is lower than the minimum allowed value (8192)"),
        ((10, 131073), "frame_max = 131073 is higher than the maximum allowed value (131072)"),
        ((10, 0), "frame_max = 0 is higher than the maximum allowed value (131072)"),
    ],
)
def test_tuning_past_the_offer_is_530(tuned: tuple[int, int], told: str) -> None:
    """More channels or larger frames than offered, or no limit, or frames too small for any."""
    made = Client(hub(), login=False)
    made.raw(PROTOCOL_HEADER)
    made.say(commands.Connection.StartOk(CAPABLE, "PLAIN", "\0me\0secret"), on=0)
    close = only(made.say(commands.Connection.TuneOk(*tuned, 0), on=0), commands.Connection.Close)
    assert (close.reply_code, close.reply_text) == (530, f"NOT_ALLOWED - negotiated {told}")


def test_smaller_frames_were_enough_for_the_older_profile() -> None:
    """Until RabbitMQ 4.1 it was 4096 octets, of which an answer makes use."""
    made = Client(Hub(LOGIN, profile=Profile.RABBITMQ_3_10), login=False)
    made.raw(PROTOCOL_HEADER)
    made.say(commands.Connection.StartOk(CAPABLE, "PLAIN", "\0me\0secret"), on=0)
    made.say(commands.Connection.TuneOk(10, 4096, 0), on=0)
    only(made.say(commands.Connection.Open(), on=0), commands.Connection.OpenOk)
    made.say(commands.Channel.Open(), commands.Queue.Declare(queue="q", exclusive=True))
    made.say(
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(0, 8000),
        *(body.ContentBody(bytes(4000)) for _ in range(2)),
    )
    _, _, *parts = made.say(commands.Basic.Get(queue="q"))
    assert [len(part.value) for part in parts] == [4088, 3912]


def test_another_vhost_is_530() -> None:
    """There is only one."""
    made = Client(hub(), login=False)
    made.raw(PROTOCOL_HEADER)
    made.say(commands.Connection.StartOk(CAPABLE, "PLAIN", "\0me\0secret"), on=0)
    made.say(commands.Connection.TuneOk(10, 8192, 0), on=0)
    close = only(made.say(commands.Connection.Open("/other"), on=0), commands.Connection.Close)
    assert (close.reply_code, close.reply_text) == (530, "NOT_ALLOWED - vhost /other not found")


def test_nothing_but_the_expected_step_is_taken() -> None:
    """A method too early is 503, and one of the login too late is 504."""
    made = Client(hub(), login=False)
    made.raw(PROTOCOL_HEADER)
    assert (
        only(made.say(commands.Channel.Open(), on=1), commands.Connection.Close).reply_code == 503
    )
    late = client()
    answer = late.say(commands.Connection.TuneOk(), on=0)
    close = only(answer, commands.Connection.Close)
    assert close.reply_code == 504
    assert close.reply_text == "CHANNEL_ERROR - unexpected method in connection state running"


def test_a_slow_handshake_is_ended() -> None:
    """Who does not log in within the limit loses the socket."""
    made = Client(hub(), login=False)
    made.session.tick(9.0)
    assert not made.session.closed
    made.session.tick(10.0)
    assert made.session.closed


# Channels and methods


def test_every_synchronous_method_is_answered_with_its_ok() -> None:
    """And with nothing when nowait is set."""
    made = client()
    pairs: list[tuple[Any, Any]] = [
        (
            commands.Exchange.Declare(exchange="e", exchange_type="topic"),
            commands.Exchange.DeclareOk,
        ),
        (commands.Exchange.Bind(destination="e", source="amq.topic"), commands.Exchange.BindOk),
        (commands.Exchange.Unbind(destination="e", source="amq.topic"), commands.Exchange.UnbindOk),
        (commands.Queue.Bind(queue="q", exchange="e", routing_key="#"), commands.Queue.BindOk),
        (commands.Queue.Unbind(queue="q", exchange="e", routing_key="#"), commands.Queue.UnbindOk),
        (commands.Queue.Purge(queue="q"), commands.Queue.PurgeOk),
        (commands.Basic.Qos(prefetch_count=5), commands.Basic.QosOk),
        (commands.Basic.Consume(queue="q", consumer_tag="t"), commands.Basic.ConsumeOk),
        (commands.Basic.Cancel("t"), commands.Basic.CancelOk),
        (commands.Basic.Get(queue="q"), commands.Basic.GetEmpty),
        (commands.Basic.Recover(requeue=True), commands.Basic.RecoverOk),
        (commands.Confirm.Select(), commands.Confirm.SelectOk),
        (commands.Channel.Flow(active=True), commands.Channel.FlowOk),
        (commands.Queue.Delete(queue="q"), commands.Queue.DeleteOk),
        (commands.Exchange.Delete(exchange="e"), commands.Exchange.DeleteOk),
        (commands.Channel.Close(0, "", 0, 0), commands.Channel.CloseOk),
        (commands.Channel.Open(), commands.Channel.OpenOk),
    ]
    for asked, answered in pairs:
        only(made.say(asked), answered)
    assert made.say(commands.Queue.Declare(queue="z", durable=True, nowait=True)) == []
    secret = made.say(commands.Connection.UpdateSecret("new", "why"), on=0)
    only(secret, commands.Connection.UpdateSecretOk)
    only(made.say(commands.Connection.Close(200, "", 0, 0), on=0), commands.Connection.CloseOk)
    assert made.session.closed


def test_published_properties_arrive_to_the_octet() -> None:
    """The header that a consumer gets is the publisher's own."""
    made = client()
    made.say(commands.Basic.Consume(queue="q"))
    deliver, head, content = made.publish(
        b"hello", headers={"a": [1, 2.5, None]}, message_id="m", delivery_mode=2
    )
    assert isinstance(deliver, commands.Basic.Deliver)
    assert (deliver.delivery_tag, deliver.routing_key) == (1, "q")
    assert head.properties.message_id == "m"
    assert content.value == b"hello"


def test_empty_and_large_bodies() -> None:
    """None and many body frames both make one message."""
    made = client()
    made.publish(b"")
    got, head = made.say(commands.Basic.Get(queue="q"))
    assert (got.message_count, head.body_size) == (0, 0)
    content = bytes(300_000)
    made.say(
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(0, len(content)),
        *(body.ContentBody(content[i : i + 100_000]) for i in range(0, 300_000, 100_000)),
    )
    _, _, *parts = made.say(commands.Basic.Get(queue="q"))
    assert b"".join(part.value for part in parts) == content
    assert made.hub.partial == 0


def test_confirms_count_and_come_after_returns() -> None:
    """Each publish has its number; an unroutable mandatory one comes back first."""
    made = client()
    made.say(commands.Confirm.Select())
    assert only(made.publish(), commands.Basic.Ack).delivery_tag == 1
    returned, _, _, ack = made.publish(key="nobody", mandatory=True)
    assert isinstance(returned, commands.Basic.Return)
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
    assert ack.delivery_tag == 2
    full: FieldTable = {"x-max-length": 0, "x-overflow": "reject-publish"}
    made.say(commands.Queue.Declare(queue="full", durable=True, arguments=full))
    assert only(made.publish(key="full"), commands.Basic.Nack).delivery_tag == 3


def test_a_soft_error_ends_its_channel_only() -> None:
    """What follows on it is ignored until the client agrees; other channels go on."""
    made = client()
    made.say(commands.Channel.Open(), on=2)
    close = only(
        made.say(
            commands.Queue.Declare(queue="nobody", passive=True), commands.Queue.Purge(queue="q")
        ),
        commands.Channel.Close,
    )
    assert (close.reply_code, close.class_id, close.method_id) == (404, 50, 10)
    assert close.reply_text == "NOT_FOUND - no queue 'nobody' in vhost '/'"
    only(made.say(commands.Queue.Purge(queue="q"), on=2), commands.Queue.PurgeOk)
    assert made.publish() == []
    assert made.say(commands.Channel.CloseOk()) == []
    only(made.say(commands.Channel.Open()), commands.Channel.OpenOk)


def test_a_channel_that_is_being_closed_is_not_open_to_be_opened() -> None:
    """Whoever has not agreed to the end of one has it still: 504, as RabbitMQ's."""
    made = client()
    only(made.say(commands.Queue.Purge(queue="nobody")), commands.Channel.Close)
    assert not made.session._channels  # and does not cost memory meanwhile
    close = only(made.say(commands.Channel.Open()), commands.Connection.Close)
    assert (close.reply_code, close.reply_text) == (
        504,
        "CHANNEL_ERROR - second 'channel.open' seen",
    )


def test_a_text_that_is_too_long_is_cut_as_rabbitmq_cuts_it() -> None:
    """At 252 octets and three dots, between two characters."""
    made = client()
    for letter, kept in (("a", 230), ("ü", 115)):
        name = (letter * 255).encode()[:254]
        purge = bytes((0, 50, 0, 30, 0, 0, len(name), *name, 0))
        close = only(made.raw(encode_frame(1, 1, purge)), commands.Channel.Close)
        assert close.reply_text == f"NOT_FOUND - no queue '{letter * kept}..."
        made.say(commands.Channel.CloseOk())
        made.say(commands.Channel.Open())


def test_a_hard_error_ends_the_connection() -> None:
    """Its exclusive queue is free at once, and nothing is heard until CloseOk."""
    made = client()
    made.say(commands.Queue.Declare(queue="mine", exclusive=True))
    close = only(made.say(commands.Tx.Select()), commands.Connection.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (540, 90, 10)
    assert made.hub.vhost.counts()["connections"] == 0
    other = Client(made.hub, 2)
    only(other.say(commands.Queue.Declare(queue="mine", exclusive=True)), commands.Queue.DeclareOk)
    assert made.publish() == []
    assert made.session.phase is Phase.CLOSING
    made.say(commands.Connection.CloseOk(), on=0)
    assert made.session.closed


def test_who_does_not_say_good_bye_is_left() -> None:
    """After Connection.Close the client has a few seconds to answer."""
    made = client()
    made.say(commands.Tx.Select())
    made.session.tick(2.0)
    assert not made.session.closed
    made.session.tick(3.0)
    assert made.session.closed


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([commands.Channel.Open()], 504),
        ([header.ContentHeader(0, 1)], 505),
        ([commands.Basic.Publish(routing_key="q"), commands.Queue.Purge(queue="q")], 505),
        ([commands.Basic.Publish(routing_key="q"), body.ContentBody(b"x")], 505),
        (
            [
                commands.Basic.Publish(routing_key="q"),
                header.ContentHeader(0, 1),
                body.ContentBody(b"xx"),
            ],
            501,
        ),
        ([commands.Basic.Publish(routing_key="q", immediate=True)], 540),
        ([commands.Basic.Qos(prefetch_size=1)], 540),
        ([commands.Channel.Flow(active=False)], 540),
        ([commands.Basic.Recover(requeue=False)], 540),
        ([commands.Exchange.Declare(exchange="e", exchange_type="headers")], 540),
        ([commands.Basic.QosOk()], 503),
    ],
)
def test_hard_errors_have_rabbitmqs_codes(frames: list[Any], code: int) -> None:
    """The whole connection is told."""
    assert only(client().say(*frames), commands.Connection.Close).reply_code == code


@pytest.mark.parametrize(
    ("expiration", "told"),
    [("soon", "no_integer"), ("-1", "value_negative"), ("9" * 12, "value_too_large")],
)
def test_an_invalid_expiration_is_406(expiration: str, told: str) -> None:
    """On its channel, asynchronously, as RabbitMQ's."""
    close = only(client().publish(expiration=expiration), commands.Channel.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (406, 60, 40)
    assert told in close.reply_text


def test_messages_have_a_largest_size() -> None:
    """One that is announced larger is refused before its body comes."""
    made = client(message=1000)
    close = only(
        made.say(
            commands.Basic.Publish(routing_key="q"),
            header.ContentHeader(0, 1001),
            body.ContentBody(bytes(1001)),
        ),
        commands.Channel.Close,
    )
    assert close.reply_code == 406
    assert "message size 1001 is larger than configured max size 1000" in close.reply_text


def test_unfinished_messages_have_a_sum() -> None:
    """Many channels with half a message each end in 506, and the memory is free again."""
    made = client(memory=1000)
    close = only(
        made.say(
            commands.Basic.Publish(routing_key="q"),
            header.ContentHeader(0, 900),
            body.ContentBody(bytes(600)),
        ),
        commands.Connection.Close,
    )
    assert close.reply_code == 506
    assert made.hub.partial == 0


def test_channels_past_the_limit_and_unopened_ones() -> None:
    """530 for a number that was not agreed upon, 504 for one that was not opened."""
    assert (
        only(
            client(channels=5).say(commands.Channel.Open(), on=6), commands.Connection.Close
        ).reply_code
        == 530
    )
    close = only(client().say(commands.Queue.Purge(queue="q"), on=2), commands.Connection.Close)
    assert close.reply_code == 504


def test_user_id_is_checked_against_the_login() -> None:
    """A forged sender closes the channel, the true one is delivered."""
    made = client()
    assert made.publish(user_id="me") == []
    assert only(made.publish(user_id="you"), commands.Channel.Close).reply_code == 406


def test_dead_letters_carry_x_death() -> None:
    """The header that comes out tells the story."""
    made = client()
    arguments: FieldTable = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    made.say(commands.Queue.Declare(queue="work", durable=True, arguments=arguments))
    made.publish(key="work", message_id="m")
    made.say(commands.Basic.Get(queue="work"))
    made.say(commands.Basic.Reject(1, requeue=False))
    _, head, _ = made.say(commands.Basic.Get(queue="q"))
    assert head.properties.message_id == "m"
    assert head.properties.headers["x-death"][0]["queue"] == "work"


def test_a_deleted_queue_cancels_its_consumers() -> None:
    """Those who can hear it are told by Basic.Cancel."""
    made = client()
    made.say(commands.Basic.Consume(queue="q", consumer_tag="t"))
    cancel, deleted = made.say(commands.Queue.Delete(queue="q"))
    if isinstance(cancel, commands.Queue.DeleteOk):
        cancel, deleted = deleted, cancel
    assert isinstance(deleted, commands.Queue.DeleteOk)
    assert cancel.consumer_tag == "t"


# Time, memory and the end


def test_heartbeats_go_both_ways() -> None:
    """One every half interval of silence; two silent intervals of the client end it."""
    made = client()
    made.session.tick(4.9)
    assert made.heard() == []
    made.session.tick(5.0)
    (beat,) = made.heard()
    assert isinstance(beat, Heartbeat)
    made.now = 15.0
    assert made.raw(HEARTBEAT_FRAME) == []
    made.session.tick(35.0)
    assert not made.session.closed
    made.session.tick(35.1)
    assert made.session.closed
    assert made.hub.vhost.counts()["connections"] == 0


def test_publishers_are_blocked_while_memory_is_short() -> None:
    """They are told, they are not timed out, consumers go on, and then they are told again."""
    made = client(memory=2000)
    consumer = Client(made.hub, 2)
    made.publish(bytes(1000))
    answer = made.publish(bytes(1000))
    assert isinstance(only(answer, commands.Connection.Blocked), commands.Connection.Blocked)
    assert made.session.blocked
    made.session.tick(60.0)
    assert not made.session.closed
    consumer.say(commands.Basic.Get(queue="q", no_ack=True))
    assert made.hub.relieved
    made.session.unblock(60.0)
    only([f for f in made.heard() if not isinstance(f, Heartbeat)], commands.Connection.Unblocked)
    made.session.tick(61.0)
    assert not made.session.closed


def test_nothing_is_said_after_the_end_of_who_was_blocked() -> None:
    """Its Connection.Close is the last word, also where memory is there again soon after."""
    made = client(memory=2000)
    made.publish(bytes(1000))
    only(made.publish(bytes(1000)), commands.Connection.Blocked)
    only(made.say(commands.Tx.Select()), commands.Connection.Close)
    made.session.unblock(1.0)
    assert made.heard() == []


def test_a_flood_of_small_requests_is_done_in_pieces() -> None:
    """So that others have their turn; a broken frame at its end is met all the same."""
    made = client()
    flood = pamqp_frame.marshal(commands.Queue.Purge(queue="q"), 1) * 2500
    pieces = [len(made.raw(flood + b"not a frame"))]
    while made.session.choked:
        made.session.proceed(made.now)
        pieces.append(len(made.heard()))
    assert pieces == [1000, 1000, 501]
    assert made.session.phase is Phase.CLOSING


def test_much_work_of_few_requests_is_done_in_pieces() -> None:
    """A publish to 500 queues counts for 500."""
    made = client()
    for number in range(500):
        made.say(
            commands.Queue.Declare(queue=f"q{number}", durable=True),
            commands.Queue.Bind(queue=f"q{number}", exchange="amq.fanout"),
        )
    one = b"".join(
        pamqp_frame.marshal(frame, 1)
        for frame in (commands.Basic.Publish(exchange="amq.fanout"), header.ContentHeader(0, 0))
    )
    made.raw(one * 30)
    assert made.session.choked
    assert made.hub.vhost.queue_state("q0").messages == 2
    while made.session.choked:
        made.session.proceed(made.now)
    assert made.hub.vhost.queue_state("q499").messages == 30


def test_a_client_has_its_room_and_then_more() -> None:
    """A consumer without a prefetch does not have the whole queue copied at once."""
    made = client(room=1000)
    for _ in range(5):
        made.publish(bytes(600))
    frames = made.say(commands.Basic.Consume(queue="q"))
    assert sum(isinstance(f, commands.Basic.Deliver) for f in frames) == 2
    assert made.session.starved
    made.session.grant(made.now)
    assert sum(isinstance(f, commands.Basic.Deliver) for f in made.heard()) == 2
    made.session.stall()
    made.session.grant(made.now)
    assert sum(isinstance(f, commands.Basic.Deliver) for f in made.heard()) == 1


def test_a_lost_client_leaves_nothing_behind() -> None:
    """Its deliveries go to others, its half message is forgotten."""
    made = client()
    other = Client(made.hub, 2)
    made.say(commands.Basic.Consume(queue="q"))
    made.publish(b"work")
    made.say(
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(0, 100),
        body.ContentBody(b"half"),
    )
    other.say(commands.Basic.Consume(queue="q"))
    made.session.lost(1.0)
    deliver, _, content = other.heard()
    assert (deliver.redelivered, content.value) == (True, b"work")
    assert made.hub.partial == 0
    assert made.hub.vhost.problems(1.0) == []


def test_shutting_down_is_told() -> None:
    """RabbitMQ's 320."""
    made = client()
    made.session.shut(1.0)
    assert only(made.heard(), commands.Connection.Close).reply_code == 320


@given(st.lists(st.binary(max_size=80), max_size=6), st.booleans())
@settings(max_examples=200)
def test_garbage_ends_its_own_connection_only(chunks: list[bytes], framed: bool) -> None:  # noqa: FBT001
    """Any bytes, also in sound frames: no exception, and the neighbour still works."""
    made = client()
    other = Client(made.hub, 2)
    for chunk in chunks:
        made.session.receive(encode_frame(1, 1, chunk) if framed else chunk, 0.0)
    made.session.take()
    only(other.say(commands.Queue.Declare(queue="q", durable=True)), commands.Queue.DeclareOk)
    assert made.hub.vhost.problems(0.0) == []


@given(st.sampled_from(sorted(commands.INDEX_MAPPING)), st.integers(0, 3), st.binary(max_size=40))
@settings(max_examples=300)
def test_any_method_with_any_arguments_is_survived(index: int, number: int, data: bytes) -> None:
    """On channel 0, an open one and closed ones."""
    made = client()
    made.session.receive(encode_frame(1, number, index.to_bytes(4) + data), 0.0)
    made.session.take()
    assert made.hub.vhost.problems(0.0) == []


def test_recovering_in_silence_has_no_answer() -> None:
    """The deprecated Basic.RecoverAsync gives back what is held, and says nothing."""
    made = client()
    made.publish()
    made.say(commands.Basic.Get(queue="q"))
    assert made.raw(encode_frame(1, 1, b"\x00\x3c\x00\x64\x01")) == []
    got = made.say(commands.Basic.Get(queue="q"))[0]
    assert isinstance(got, commands.Basic.GetOk)
    assert got.redelivered


UNSUPPORTED_ASKED: dict[str, list[Any]] = {
    "tx": [commands.Tx.Select()],
    "headers": [commands.Exchange.Declare(exchange="e", exchange_type="headers")],
    "exchange type plugin": [
        commands.Exchange.Declare(exchange="e", exchange_type="x-delayed-message")
    ],
    "direct reply-to": [commands.Basic.Consume(queue="amq.rabbitmq.reply-to", no_ack=True)],
    "alternate-exchange": [
        commands.Exchange.Declare(exchange="e", arguments={"alternate-exchange": "f"})
    ],
    "x-priority": [commands.Basic.Consume(queue="q", arguments={"x-priority": 1})],
    "x-max-priority": [
        commands.Queue.Declare(queue="n", durable=True, arguments={"x-max-priority": 9})
    ],
    "x-queue-type": [
        commands.Queue.Declare(queue="n", durable=True, arguments={"x-queue-type": "quorum"})
    ],
    "CC": [
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(0, 0, commands.Basic.Properties(headers={"CC": ["r"]})),
    ],
}


@pytest.mark.parametrize("feature", UNSUPPORTED)
def test_all_on_the_list_is_answered_with_540(feature: str) -> None:
    """Whoever asks for it hears so in the list's own words."""
    close = only(client().say(*UNSUPPORTED_ASKED[feature]), commands.Connection.Close)
    assert close.reply_code == 540
    assert UNSUPPORTED[feature] in close.reply_text
