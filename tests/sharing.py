"""How the tests are shared out among xdist's workers: whole files, but for two kinds of them."""

from xdist.scheduler import LoadScopeScheduling

COMPUTING = 2
"""Workers that play seeds and states; the others wait for processes most of the time."""


class Sharing(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types
    """A file's tests share what it starts.

    Those of the simulation start nothing and only compute: no more than two workers are busy with
    them, so that who waits finds a processor when it goes on. Faults are played one by one; those
    that kill a RabbitMQ node share one.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.startswith("tests/simulation/"):
            return f"computing {sum(test.encode()) % COMPUTING}"
        if not file.startswith("tests/faults/"):
            return file
        return "RabbitMQ" if "[broker-" in test and "-rabbitmq-" in test else nodeid
