"""Holds workers for one job, as a process of its own: what ``pytest --gs-spawn`` starts.

``python -m pytest_gatherscatter.testfiles.service LAB JOB SLOTS`` with the broker's URL in
``GATHERSCATTER_BROKER``: a command line can be read by everybody on the machine.
"""

import os
import sys

from pytest_gatherscatter.errors import GatherScatterError
from pytest_gatherscatter.testfiles.service.pipe import line, start_of
from pytest_gatherscatter.testfiles.service.supervisor import SupervisorService

WAIT = 30.0
"""Seconds until the job must have been offered: its originator is there already."""


def main() -> int:
    """Work for one job; returns an exit status."""
    lab, job, slots = sys.argv[1:]
    parent = os.getppid()
    service = SupervisorService(
        lab,
        os.environ["GATHERSCATTER_BROKER"],
        slots=int(slots),
        order=lambda start: line(start_of(start)),
        job=job,
    )
    try:
        service.run(lambda: os.getppid() != parent, wait=WAIT)
    except GatherScatterError as error:
        sys.stderr.write(f"gatherscatter: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
