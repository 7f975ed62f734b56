"""What a run of pytest does by itself, beside its sections."""

import os
import signal
import socket
import threading
import traceback
from pathlib import Path

import pytest

from pytest_gatherscatter.plugin import interrupt
from pytest_gatherscatter.plugin.step import Steps
from pytest_gatherscatter.plugin.teller import Teller


def test_ctrl_c_names_the_telling_of_steps(tmp_path: Path) -> None:
    """A broker that hangs as a step begins: the last frame that pytest shows is not pika's."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, end)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        teller = Teller("0123456789abcdef", lambda: (url, "lab"), tmp_path)
        steps = Steps("test_it.py::test_steps", "0123456789abcdef", teller)
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt) as caught, steps("burst"):
                pytest.fail("it hangs")
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
    assert str(caught.value) == "while telling the lab about steps"
    assert traceback.extract_tb(caught.tb)[-1].filename == interrupt.__file__
    assert steps.done[0].outcome == "interrupted"
