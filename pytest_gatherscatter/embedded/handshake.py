"""How a client comes in: who it is, on what terms, and to which vhost.

Three requests in a fixed order, each answered; from the last answer on the connection is open.
Pure, as the session that it belongs to.
"""

import secrets
from collections.abc import Mapping
from enum import Enum
from hmac import compare_digest

from pamqp import base, commands
from pamqp.common import FieldTable

from pytest_gatherscatter.embedded.frames import (
    FRAME_MAX,
    FRAME_MIN,
    HANDSHAKE_MAX,
    OLDER_FRAME_MIN,
)
from pytest_gatherscatter.embedded.hub import Limits, Login
from pytest_gatherscatter.embedded.record import Profile
from pytest_gatherscatter.embedded.refusal import AmqpError, Code

VHOST_NAME = "/"
_CAPABILITIES: FieldTable = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "consumer_priorities": False,
    "authentication_failure_close": True,
    "per_consumer_qos": True,
    "direct_reply_to": False,
}
_PROPERTIES: FieldTable = {
    "product": "pytest-gatherscatter embedded broker",
    "platform": "Python",
    "information": "for one machine; forgets everything at its end",
    "instance": secrets.token_hex(8),  # so that who comes back knows whether it has forgotten
    "capabilities": _CAPABILITIES,
}

_HEEDED = ("authentication_failure_close", "connection.blocked", "consumer_cancel_notify")
"""Capabilities of a client that change what it is sent; the rest of what it says is not kept."""


class Awaited(Enum):
    """What the client has to say next."""

    START_OK = "Connection.StartOk"
    TUNE_OK = "Connection.TuneOk"
    OPEN = "Connection.Open"


class Handshake:
    """One client's way in.

    ``done`` once it is there, ``refused`` when it shall be left without a word.

    Args:
        login: who may come in.
        limits: what the broker bears, which is what it offers.
        profile: whose least frame size holds.
    """

    def __init__(self, login: Login, limits: Limits, profile: Profile) -> None:
        self.awaited = Awaited.START_OK
        self.done = self.refused = False
        self.user = ""
        self.capabilities: Mapping[str, object] = {}
        self.channel_max = limits.channels
        self.frame_max = HANDSHAKE_MAX
        self.heartbeat = 0
        self._login = login
        self._limits = limits
        older = profile is Profile.RABBITMQ_3_10
        self._frame_min = OLDER_FRAME_MIN if older else FRAME_MIN

    def start(self) -> base.Frame:
        """What the broker says first."""
        return commands.Connection.Start(
            server_properties=_PROPERTIES, mechanisms="PLAIN", locales="en_US"
        )

    def answer(self, frame: base.Frame) -> base.Frame | None:
        """Answer the client's next request, if it has an answer.

        Raises:
            AmqpError: 403 (the login), 503 (not what is awaited), 530 (terms or vhost).
        """
        if self.awaited is Awaited.START_OK and isinstance(frame, commands.Connection.StartOk):
            return self._log_in(frame)
        if self.awaited is Awaited.TUNE_OK and isinstance(frame, commands.Connection.TuneOk):
            self._tune(frame)
            return None
        if self.awaited is Awaited.OPEN and isinstance(frame, commands.Connection.Open):
            if frame.virtual_host != VHOST_NAME:
                raise AmqpError(Code.NOT_ALLOWED, f"vhost {frame.virtual_host} not found")
            self.done = True
            return commands.Connection.OpenOk()
        raise AmqpError(
            Code.COMMAND_INVALID, f"{frame.name} while {self.awaited.value} is expected"
        )

    def _log_in(self, frame: commands.Connection.StartOk) -> base.Frame | None:
        capabilities = (frame.client_properties or {}).get("capabilities")
        if isinstance(capabilities, dict):
            self.capabilities = {name: capabilities.get(name) for name in _HEEDED}
        # pamqp decodes what it can, and leaves bytes that are no UTF-8.
        said: str | bytes = frame.response
        response = said.encode() if isinstance(said, str) else said
        wanted = f"\0{self._login.user}\0{self._login.password}".encode()
        if frame.mechanism == "PLAIN" and compare_digest(response, wanted):
            self.user = self._login.user
            self.awaited = Awaited.TUNE_OK
            limits = self._limits
            return commands.Connection.Tune(limits.channels, FRAME_MAX, limits.heartbeat)
        if self.capabilities.get("authentication_failure_close") is True:
            raise AmqpError(
                Code.ACCESS_REFUSED,
                f"Login was refused using authentication mechanism {frame.mechanism}. "
                "The address file of this broker holds its URL.",
            )
        # Older clients take a closed socket for a refused login.
        self.refused = True
        return None

    def _tune(self, frame: commands.Connection.TuneOk) -> None:
        # 0 would mean no limit of the client's own, which is more than was offered.
        _negotiated("channel_max", frame.channel_max, 1, self._limits.channels)
        _negotiated("frame_max", frame.frame_max, self._frame_min, FRAME_MAX)
        self.channel_max = frame.channel_max
        self.frame_max = frame.frame_max
        self.heartbeat = frame.heartbeat
        self.awaited = Awaited.OPEN


def _negotiated(name: str, value: int, least: int, most: int) -> None:
    """AmqpError 530 for a limit that is out of the bounds of what was offered."""
    if not value or value > most:
        bound = f"higher than the maximum allowed value ({most})"
    elif value < least:
        bound = f"lower than the minimum allowed value ({least})"
    else:
        return
    raise AmqpError(Code.NOT_ALLOWED, f"negotiated {name} = {value} is {bound}")
