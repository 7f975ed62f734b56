"""Handing in captures: chunk by chunk over the section's own queue, a few at a time.

Part of the monitor's machine, and as pure as it. A large capture shares its link with the
answers that other sections wait for, so only a few chunks are on their way at a time. A chunk
that is lost with the link is sent again; its reader knows it by agent, artifact and number.
"""

from dataclasses import replace as with_changes

import msgspec

from pytest_gatherscatter.machine import Effects
from pytest_gatherscatter.sections.monitor.arming import Arming, ArmingState
from pytest_gatherscatter.sections.monitor.hookcall import (
    CHUNK,
    Capture,
    DeclareQueue,
    QueueDeclared,
)
from pytest_gatherscatter.sections.monitor.presence import AGAIN
from pytest_gatherscatter.wire.messages import ArtifactChunk
from pytest_gatherscatter.wire.names import section_key

WINDOW = 4
"""Chunks on their way at a time: 1 MiB keeps a fast network busy and a heartbeat on time."""

TRIES = 5
"""How often the broker may refuse (a queue that expired, a right that is missing) before it is
told in the report; a lost link is no refusal."""


class Delivery:
    """Sends the captures of armings that are ``SENDING``."""

    def __init__(self, effects: Effects, agent: str) -> None:
        self._effects = effects
        self._agent = agent
        self._declaring: dict[int, Arming] = {}
        self._chunks: dict[int, tuple[Arming, tuple[int, int]]] = {}

    def begin(self, arming: Arming, *, now: float) -> None:
        """Send what the arming's captures hold, from their first chunk on."""
        arming.unsent.extend(
            (index, number)
            for index, capture in enumerate(arming.captures)
            if capture.data is not None
            for number in range(capture.manifest.chunks)
        )
        arming.say_at = now

    def go_on(self, arming: Arming) -> None:
        """Declare the queue, again after trouble; what was confirmed stays sent."""
        arming.say_at = None
        if arming not in self._declaring.values():
            self._declaring[self._effects.run(DeclareQueue(arming.info.id))] = arming

    def declared(self, effect: int, result: QueueDeclared, *, now: float) -> Arming | None:
        """The queue is there, or is not; returns whose it is."""
        arming = self._declaring.pop(effect, None)
        if arming is None or arming.state is not ArmingState.SENDING:
            return None
        if result.lost:
            arming.say_at = now + AGAIN
        elif result.problem:
            self._refused(arming, result.problem, now)
        else:
            self._fill(arming)
        return arming

    def outcome(self, effect: int, *, sent: bool, problem: str, now: float) -> Arming | None:
        """A chunk was confirmed, refused (``problem``) or lost; returns whose it was."""
        arming, chunk = self._chunks.pop(effect, (None, (0, 0)))
        if arming is None:
            return None
        arming.open_chunks -= 1
        if not sent:
            arming.unsent.appendleft(chunk)
            if problem and arming.open_chunks == 0:
                self._refused(arming, problem, now)
        elif arming.say_at is None and arming not in self._declaring.values():
            self._fill(arming)
        return arming

    @staticmethod
    def over(arming: Arming) -> bool:
        """Say whether nothing is left to send."""
        return not arming.unsent and arming.open_chunks == 0

    def _refused(self, arming: Arming, problem: str, now: float) -> None:
        arming.tries += 1
        arming.say_at = now + AGAIN
        if arming.tries < TRIES:
            return
        arming.unsent.clear()
        arming.breaks(f"artifacts could not be sent: {problem}")
        arming.captures = tuple(_stays(capture) for capture in arming.captures)

    def _fill(self, arming: Arming) -> None:
        while arming.unsent and arming.open_chunks < WINDOW:
            index, number = arming.unsent.popleft()
            capture = arming.captures[index]
            data = (capture.data or b"")[number * CHUNK : (number + 1) * CHUNK]
            message = ArtifactChunk(
                section=arming.info.id,
                agent=self._agent,
                artifact=capture.manifest.name,
                number=number,
                data=data,
            )
            effect = self._effects.send(section_key(arming.info.id), message)
            self._chunks[effect] = (arming, (index, number))
            arming.open_chunks += 1


def _stays(capture: Capture) -> Capture:
    """The capture as one that was not sent."""
    return with_changes(capture, manifest=msgspec.structs.replace(capture.manifest, chunks=0))
