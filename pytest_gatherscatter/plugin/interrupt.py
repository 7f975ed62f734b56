"""What pytest shows of Ctrl-C: in the midst of what it came."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interrupt_says(what: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end here, and say in the midst of what: pytest shows that and no traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"while {what()}") from None
