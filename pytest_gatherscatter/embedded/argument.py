"""What a queue's and a consumer's ``x-`` arguments mean, and how a broker says no to them.

Checked in RabbitMQ's order and refused in its words, types of the protocol and all. What a
classic queue of RabbitMQ can do and this broker cannot is answered with 540, from the one list
in ``refusal.py``. Names that nobody knows mean nothing and do no harm, as there.
"""

import re
from collections.abc import Callable, Mapping

from msgspec import Struct

from pytest_gatherscatter.embedded.record import Profile
from pytest_gatherscatter.embedded.refusal import (
    AmqpError,
    Code,
    deprecated,
    invalid_argument,
    unequal,
    unsupported,
)

MAX_MILLISECONDS = 315_360_000_000
"""RabbitMQ refuses longer times: ten years."""

_OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")
# In the order in which an unequal declaration is told.
_COMPARED = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator",
)
# Of the other kinds of queues: a classic one refuses them.
_OTHERS = frozenset(
    {
        "x-dead-letter-strategy",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-initial-cluster-size",
    }
)
_OTHERS_OF = {
    Profile.RABBITMQ_3_10: _OTHERS | {"x-queue-leader-locator"},
    Profile.RABBITMQ_4_3: _OTHERS
    | {
        "x-stream-filter-size-bytes",
        "x-consumer-timeout",
        "x-consumer-disconnected-timeout",
        "x-delayed-retry-type",
        "x-delayed-retry-min",
        "x-delayed-retry-max",
    },
}
_QUEUE_TYPES = ("classic", "quorum", "stream")
# The protocol's names of the types, by Python's.
_TYPES = {
    "bool": "bool",
    "str": "longstr",
    "float": "double",
    "list": "array",
    "dict": "table",
    "Decimal": "decimal",
    "datetime": "timestamp",
}
_SIGNED_INT = 2**31
# As Erlang reads a number: what follows it is told.
_INTEGER = re.compile(r"([+-]?[0-9]+)(.*)", re.DOTALL)
_KEY_MAX = 255
"""Octets of a routing key: it is a short text in every frame that carries it."""


class QueueArguments(Struct, frozen=True):
    """What the arguments of a declaration mean; times in seconds, sizes in bytes.

    ``raw`` is as the client has sent those that later declarations are compared with.
    """

    raw: Mapping[str, object]
    message_ttl: float | None = None
    expires: float | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    single_active_consumer: bool = False

    @classmethod
    def parse(cls, queue: str, raw: Mapping[str, object], profile: Profile) -> "QueueArguments":
        """Read a new queue's arguments.

        Raises:
            AmqpError: 406 for a wrong one, 540 for the listed ones, 541 for what RabbitMQ 4.3
                does not permit any more.
        """
        asked = _Asked(queue, raw)
        exchange = raw.get("x-dead-letter-exchange")
        if exchange is not None and not isinstance(exchange, str):
            raise AmqpError(
                Code.PRECONDITION_FAILED,
                f"invalid type '{_type(exchange)}' for arg 'x-dead-letter-exchange' in queue "
                f"'{queue}' in vhost '/'",
            )
        kind = asked.text("x-queue-type", _queue_type)
        if kind not in {None, "classic"}:
            raise unsupported("x-queue-type")
        arguments = cls(
            raw={name: _kept(raw[name]) for name in _COMPARED if name in raw},
            expires=asked.seconds("x-expires", least=1),
            message_ttl=asked.seconds("x-message-ttl", least=0),
            dead_letter_exchange=exchange,
            dead_letter_key=asked.text("x-dead-letter-routing-key", _dead_letter_key(exchange)),
            max_length=asked.count("x-max-length"),
            max_length_bytes=asked.count("x-max-length-bytes"),
            overflow=asked.text("x-overflow", _overflow) or "drop-head",
            single_active_consumer=asked.flag("x-single-active-consumer"),
        )
        if profile is Profile.RABBITMQ_3_10:
            asked.text("x-queue-mode", _queue_mode)
        asked.version("x-queue-version", {1, 2} if profile is Profile.RABBITMQ_3_10 else {2})
        for name in raw:
            if name in _OTHERS_OF[profile]:
                raise _of_another_kind(queue, name)
        if "x-max-priority" in raw:
            raise unsupported("x-max-priority")
        if "x-queue-master-locator" in raw and profile is Profile.RABBITMQ_4_3:
            raise deprecated("queue_master_locator", "x-queue-master-locator has no meaning here")
        return arguments

    def assert_equal(self, queue: str, received: Mapping[str, object]) -> None:
        """AmqpError 406 when another declaration has other arguments."""
        for name in _COMPARED:
            old, new = self.raw.get(name), received.get(name)
            if _same(old, _kept(new)):
                continue
            if name == "x-queue-type" and {old, new} == {None, "classic"}:
                continue
            if old is None or new is None:
                raise unequal("queue", queue, name, _told(new), _told(old))
            raise unequal("queue", queue, name, f"'{_shown(new)}'", f"'{_shown(old)}'")


def check_consumer(queue: str, raw: Mapping[str, object]) -> None:
    """AmqpError 406 or 540 for a consumer's arguments; what is left has no meaning here."""
    priority = raw.get("x-priority")
    if priority is not None:
        _Asked(queue, raw).integer("x-priority")
        raise unsupported("x-priority")
    if "x-stream-offset" in raw:
        raise _of_another_kind(queue, "x-stream-offset")


class _Asked:
    """The arguments of one declaration, read with RabbitMQ's refusals."""

    def __init__(self, queue: str, raw: Mapping[str, object]) -> None:
        self._queue = queue
        self._raw = raw

    def _invalid(self, name: str, problem: str) -> AmqpError:
        return invalid_argument(self._queue, name, problem)

    def text(self, name: str, problem: Callable[[str], str | None]) -> str | None:
        """A text of which ``problem`` knows what is wrong with it."""
        value = self._raw.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._invalid(name, f"{{unacceptable_type,{_type(value)}}}")
        if told := problem(value):
            raise self._invalid(name, told)
        return value

    def flag(self, name: str) -> bool:
        """A truth value, False when it is not there."""
        value = self._raw.get(name, False)
        if not isinstance(value, bool):
            raise self._invalid(name, f"{{unacceptable_type,{_type(value)}}}")
        return value

    def integer(self, name: str) -> int | None:
        """Any integer."""
        value = self._raw.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._invalid(name, f'"expected integer, got {_type(value)}"')

    def count(self, name: str) -> int | None:
        """An integer from 0."""
        value = self.integer(name)
        if value is not None and value < 0:
            raise self._invalid(name, f"{{value_negative,{value}}}")
        return value

    def seconds(self, name: str, *, least: int) -> float | None:
        """A time that was given in milliseconds, from ``least`` of them."""
        value = self.integer(name)
        if value is None:
            return None
        if value == 0 and least:
            raise self._invalid(name, "{value_zero,0}")
        if problem := time_problem(value):
            raise self._invalid(name, problem)
        return value / 1000

    def version(self, name: str, known: set[int]) -> None:
        """One of a few numbers."""
        value = self.count(name)
        if value is not None and value not in known:
            raise self._invalid(name, f"\"unsupported queue version '{value}'\"")


def time_problem(milliseconds: int) -> str | None:
    """What RabbitMQ says about a time that is out of range; None when it is not."""
    if milliseconds < 0:
        return f"{{value_negative,{milliseconds}}}"
    if milliseconds > MAX_MILLISECONDS:
        return f"{{value_too_large,{milliseconds}}}"
    return None


def expiration_seconds(expiration: str) -> float:
    """A message's own time to live, which a text tells in milliseconds; AmqpError 406."""
    found = _INTEGER.fullmatch(expiration)
    if found is None:
        raise _invalid_expiration(expiration, "no_integer")
    if found[2]:
        raise _invalid_expiration(expiration, f'{{leftover_string,"{found[2]}"}}')
    milliseconds = int(found[1])
    if problem := time_problem(milliseconds):
        raise _invalid_expiration(expiration, problem)
    return milliseconds / 1000


def _invalid_expiration(expiration: str, problem: str) -> AmqpError:
    return AmqpError(Code.PRECONDITION_FAILED, f"invalid expiration '{expiration}': {problem}")


def _queue_type(value: str) -> str | None:
    return None if value in _QUEUE_TYPES else f"\"unsupported queue type '{value}'\""


def _overflow(value: str) -> str | None:
    return None if value in _OVERFLOWS else "invalid_overflow"


def _queue_mode(value: str) -> str | None:
    return None if value in {"default", "lazy"} else f"\"unsupported queue mode '{value}'\""


def _dead_letter_key(exchange: str | None) -> Callable[[str], str | None]:
    def problem(key: str) -> str | None:
        if exchange is None:
            return "routing_key_but_no_dlx_defined"
        # RabbitMQ takes it, and then ends the connection of who is to have such a letter.
        size = len(key.encode())
        return f"{{value_too_long,{size}}}" if size > _KEY_MAX else None

    return problem


def _of_another_kind(queue: str, name: str) -> AmqpError:
    return AmqpError(
        Code.PRECONDITION_FAILED,
        f"invalid arg '{name}' for queue '{queue}' in vhost '/' of queue type rabbit_classic_queue",
    )


def _type(value: object) -> str:
    """The protocol's name for a value's type.

    How wide an integer was on the wire is not known any more, so it is told as clients send it.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return "signedint" if -_SIGNED_INT <= value < _SIGNED_INT else "long"
    return _TYPES.get(type(value).__name__, "binary")


def _kept(value: object) -> object:
    """A value as it is compared later: of a table or an array, which may be large, its text."""
    return repr(value) if isinstance(value, dict | list | bytes) else value


def _same(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _told(value: object) -> str:
    return "none" if value is None else f"the value '{_shown(value)}' of type '{_type(value)}'"
