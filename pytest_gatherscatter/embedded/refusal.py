"""How the broker says no: AMQP's reply codes, and the one list of what is not supported.

A refusal is data for a client, not trouble of this package, so it stands outside the error
tree of ``errors.py``: a session turns it into Channel.Close or Connection.Close, and the
simulation hands it to whoever called. Texts follow RabbitMQ's, because people search for them.
"""

from enum import IntEnum


class Code(IntEnum):
    """AMQP 0-9-1 reply codes that this broker uses."""

    NO_ROUTE = 312
    CONNECTION_FORCED = 320
    ACCESS_REFUSED = 403
    NOT_FOUND = 404
    RESOURCE_LOCKED = 405
    PRECONDITION_FAILED = 406
    FRAME_ERROR = 501
    SYNTAX_ERROR = 502
    COMMAND_INVALID = 503
    CHANNEL_ERROR = 504
    UNEXPECTED_FRAME = 505
    RESOURCE_ERROR = 506
    NOT_ALLOWED = 530
    NOT_IMPLEMENTED = 540
    INTERNAL_ERROR = 541


# The specification's soft errors end a channel; all others end the connection.
_SOFT = frozenset(
    {Code.ACCESS_REFUSED, Code.NOT_FOUND, Code.RESOURCE_LOCKED, Code.PRECONDITION_FAILED}
)

UNSUPPORTED: dict[str, str] = {
    "tx": "transactions; publisher confirms tell what arrived",
    "headers": "headers exchanges; bind by routing key",
    "exchange type plugin": "exchange types beyond direct, fanout and topic",
    "direct reply-to": "amq.rabbitmq.reply-to; declare an exclusive queue",
    "alternate-exchange": "alternate exchanges; publish with mandatory",
    "x-priority": "consumer priorities",
    "x-max-priority": "priority queues",
    "x-queue-type": "queue types beyond classic: nothing is replicated on one machine",
    "CC": "sender-selected distribution (CC and BCC headers); bind what shall receive",
}
"""All that RabbitMQ has and this broker answers with 540: the name that code asks by, and why.

What RabbitMQ itself answers with 540, it says in RabbitMQ's words: :func:`not_implemented`.
"""


class AmqpError(Exception):
    """A refusal with AMQP's ``code`` and a ``text`` that opens with the code's name.

    ``hard`` tells that the whole connection ends, otherwise only the channel does.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(f"{int(code)} {code.name} - {text}")
        self.code = code
        self.text = f"{code.name} - {text}"
        self.hard = code not in _SOFT


def unsupported(feature: str) -> AmqpError:
    """The 540 for one feature of :data:`UNSUPPORTED`; an unlisted feature is a KeyError."""
    return AmqpError(Code.NOT_IMPLEMENTED, f"{feature}: {UNSUPPORTED[feature]}")


def not_implemented(what: str) -> AmqpError:
    """The 540 for something that RabbitMQ does not do either, in its words."""
    return AmqpError(Code.NOT_IMPLEMENTED, what)


def deprecated(feature: str, cure: str) -> AmqpError:
    """The 541 for what RabbitMQ 4.3 has and does not permit by default."""
    return AmqpError(
        Code.INTERNAL_ERROR,
        f"Feature `{feature}` is deprecated. By default, this feature is not permitted anymore: "
        f"{cure}.",
    )


def not_found(kind: str, name: str) -> AmqpError:
    """The 404 for a queue or exchange (``kind``) that is not there."""
    return AmqpError(Code.NOT_FOUND, f"no {kind} '{name}' in vhost '/'")


def locked(name: str) -> AmqpError:
    """The 405 that others get at an exclusive queue."""
    return AmqpError(
        Code.RESOURCE_LOCKED,
        f"cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not "
        "match that of the original declaration.",
    )


def unequal(kind: str, name: str, argument: str, received: str, current: str) -> AmqpError:
    """The 406 for a declaration that differs from what is there; both as they shall be told."""
    return AmqpError(
        Code.PRECONDITION_FAILED,
        f"inequivalent arg '{argument}' for {kind} '{name}' in vhost '/': "
        f"received {received} but current is {current}",
    )


def invalid_argument(queue: str, argument: str, problem: str) -> AmqpError:
    """The 406 for an argument of a queue that no queue could have."""
    return AmqpError(
        Code.PRECONDITION_FAILED,
        f"invalid arg '{argument}' for queue '{queue}' in vhost '/': {problem}",
    )


def flag(value: object) -> str:
    """A field of a declaration, as :func:`unequal` tells it."""
    return f"'{str(value).lower()}'" if isinstance(value, bool) else f"'{value}'"
