"""The parts of a small lab, kept frozen and thawed one by one.

An exploration goes back to former states all the time, and from each only a part or two of the
lab moves. So the parts are frozen one by one (a part that nothing happened to stays the very
bytes that it was), states share them, and what a part does to one input is worked out once: a
machine's answer hangs on its own state, the input and the time alone. Holzmann's model checker
SPIN compresses states in the same way (COLLAPSE).
"""

import copyreg
import io
import pickle
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

KEPT = 60_000
"""Answers that are remembered before all are forgotten: some hundred megabytes."""

THAWED = 500
"""Parts that are kept thawed: those of the states that are looked at just now."""

_NOTHING = object()

Frozen = tuple[bytes, ...]
"""All parts, in the order of their names on the shelf."""


def _method(method: MethodType) -> tuple[Any, tuple[object, str]]:
    """Freeze a method under the name that its class has for it: a test may have put it there."""
    kind, function = type(method.__self__), method.__func__
    name = function.__name__
    if getattr(kind, name, None) is not function:
        name = next(one for one in dir(kind) if getattr(kind, one, None) is function)
    return getattr, (method.__self__, name)


_REDUCERS = {**copyreg.dispatch_table, MethodType: _method}


def _freeze(part: object) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 5)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(part)
    return buffer.getvalue()


class Shelf:
    """The parts by name. Not thread-safe."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._frozen: list[bytes] = []
        self._places: dict[str, int] = {}
        self._thawed: dict[bytes, Any] = {}
        self._open: dict[str, Any] = {}
        self._known: dict[tuple[bytes, bytes], tuple[bytes, Any]] = {}
        self._same: dict[bytes, bytes] = {}

    def put(self, name: str, part: object) -> None:
        """Put a part in the place of ``name``."""
        self._open.pop(name, None)
        self._set(name, part)

    def _set(self, name: str, part: object) -> None:
        frozen = self._one(_freeze(part))
        place = self._places.get(name)
        if place is None:
            self._places[name] = len(self.names)
            self.names.append(name)
            self._frozen.append(frozen)
        else:
            self._frozen[place] = frozen
        if len(self._thawed) >= THAWED:
            self._thawed.clear()
        self._thawed[frozen] = part

    def _one(self, frozen: bytes) -> bytes:
        """Return the one object of all that are equal, so that comparing is quick."""
        return self._same.setdefault(frozen, frozen)

    def bytes_of(self, name: str) -> bytes:
        """Return a part as it is frozen."""
        return self._frozen[self._places[name]]

    def look(self, name: str) -> Any:  # noqa: ANN401 - any part
        """Return a part to look at; it must not be changed."""
        if name in self._open:
            return self._open[name]
        return self.thaw(self._frozen[self._places[name]])

    def thaw(self, frozen: bytes) -> Any:  # noqa: ANN401 - as above
        """Return a part out of its bytes, to look at."""
        part = self._thawed.get(frozen, _NOTHING)
        if part is _NOTHING:
            if len(self._thawed) >= THAWED:
                self._thawed.clear()
            part = self._thawed[frozen] = pickle.loads(frozen)  # noqa: S301 - own bytes
        return part

    def open(self, name: str) -> Any:  # noqa: ANN401 - as above
        """Return a part to be changed; it is frozen anew when the state is."""
        if name not in self._open:
            frozen = self._frozen[self._places[name]]
            self._open[name] = self.thaw(frozen)
            del self._thawed[frozen]
        return self._open[name]

    def ask(self, name: str, act: Callable[[Any], Any], *key: object) -> Any:  # noqa: ANN401
        """Have a part do something that hangs on it and on ``key`` only; return its answer."""
        place = self._places[name]
        before = self._frozen[place]
        what = before, pickle.dumps(key, 5)
        known = self._known.get(what)
        if known is None:
            if len(self._known) >= KEPT:
                self._known.clear()
                self._same = {one: one for one in self._frozen}
            part = self.thaw(before)
            del self._thawed[before]  # should it break, it is thawed anew
            answer = act(part)
            self._set(name, part)
            self._known[what] = self._frozen[place], answer
            return answer
        self._frozen[place] = known[0]
        return known[1]

    def freeze(self) -> Frozen:
        """Return all parts as they are."""
        for name, part in self._open.items():
            self._set(name, part)
        self._open.clear()
        return tuple(self._frozen)

    def restore(self, frozen: Iterable[bytes]) -> None:
        """Go back to a former state of all parts."""
        self._open.clear()
        self._frozen = list(frozen)
