"""What supervisors and listeners say to their shells, and hear of them."""

from msgspec import Struct

# ── what the shell does ────────────────────────────────────────────────────────────────


class Say(Struct, frozen=True):
    """A line for who started the supervisor (``Run``)."""

    text: str


class Done(Struct, frozen=True):
    """Nothing is left to do; ``text`` says why if it was cut short (``Run``)."""

    text: str = ""


# ── what the shell tells ───────────────────────────────────────────────────────────────


class Leave(Struct, frozen=True):
    """Whoever started the supervisor wants it to end (``Told``).

    ``in_order``: the tests that run come to their end.
    """

    text: str
    in_order: bool = False
