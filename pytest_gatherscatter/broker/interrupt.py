"""Where Ctrl-C ends: pytest shows the last frame of an interrupt, which shall be one of ours."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def interruptible(call: Callable[P, R]) -> Callable[P, R]:
    """Let an interrupt of a blocking ``call`` end here and not where pika's loop happened to be.

    It stays the same exception: a signal that ends a command like Ctrl-C has a class of its own.
    """

    @wraps(call)
    def interrupted_here(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except KeyboardInterrupt as error:
            raise error.with_traceback(None) from None

    return interrupted_here
