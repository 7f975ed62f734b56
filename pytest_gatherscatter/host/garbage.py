"""Python's collector of garbage, while a process gets ready.

What imports make stays for the life of a process, and is far more than the collector expects of
so short a time: it looks through all of it again and again, a fifth of what an import takes.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def here_to_stay() -> Iterator[None]:
    """Look for no garbage inside the block, and never among what there is at its end."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if looks:
            gc.enable()
