"""The figures of an examiner, for whoever comes by."""

import socket
import threading

from shells import until

from pytest_gatherscatter.graders.service.metrics import Metrics


def test_a_client_that_drips_holds_nobody_up() -> None:
    """It would ask for as long as it likes; it is hung up on, and no thread of it is left."""
    before = threading.active_count()
    with Metrics(0) as metrics, socket.create_connection(("127.0.0.1", metrics.port)) as client:
        client.sendall(b"GET /")
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.1):
                try:
                    client.sendall(b"x")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            until(lambda: threading.active_count() == before + 3)  # two of the server, one drips
            closing = threading.Thread(target=metrics._server.server_close)
            metrics._server.shutdown()
            closing.start()
            closing.join(10)
            assert not closing.is_alive()
        finally:
            ended.set()
            dripping.join()
    assert threading.active_count() == before
