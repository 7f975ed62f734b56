"""``python -m pytest_gatherscatter.embedded``: the local broker as a process of its own.

It says nothing when all is well; whoever started it waits for the address file.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from pytest_gatherscatter.embedded.address import default_address_path, remove_place
from pytest_gatherscatter.embedded.hub import Limits
from pytest_gatherscatter.embedded.record import Profile
from pytest_gatherscatter.embedded.server import serve
from pytest_gatherscatter.errors import GatherScatterError

_USAGE = 2
_MIB = 1024 * 1024


def main(argv: list[str] | None = None) -> int:
    """Run the broker; the exit status is 0 after a signal or its parent's end, else 2."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_gatherscatter.embedded",
        description="An AMQP broker for this user on this machine; it keeps no message on disk.",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        help="0, the default: the former broker's of this address file, or a free one",
    )
    parser.add_argument(
        "--address-file", type=Path, help="where to write the URL with its password"
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="the address file's folder is for this broker alone, and goes with it",
    )
    parser.add_argument("--parent-pid", type=int, help="end when this process does")
    parser.add_argument(
        "--memory",
        type=int,
        metavar="MIB",
        default=Limits().memory // _MIB,
        help="block publishers past this much queued data (%(default)s)",
    )
    parser.add_argument(
        "--profile",
        choices=[profile.value for profile in Profile],
        default=Profile.RABBITMQ_4_3.value,
        help="the RabbitMQ whose refusals it copies (%(default)s)",
    )
    options = parser.parse_args(argv)
    if options.memory < 1:
        parser.error(f"--memory must be at least 1, not {options.memory}")
    try:
        path = options.address_file or default_address_path()
        limits = Limits(memory=options.memory * _MIB)
        asyncio.run(
            serve(
                path,
                port=options.port,
                parent=options.parent_pid,
                limits=limits,
                profile=Profile(options.profile),
            )
        )
    except (GatherScatterError, OSError, OverflowError) as error:
        sys.stderr.write(f"broker: {error}\n")
        return _USAGE
    finally:
        # Whoever made it may have been killed, and that is when this ends.
        if options.private and options.address_file:
            remove_place(options.address_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
