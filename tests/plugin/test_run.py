"""What a run of pytest does by itself, beside its sections."""

import os
import signal
import socket
import threading
import traceback

import pytest

from pytest_gatherscatter.plugin import run as module
from pytest_gatherscatter.plugin.run import Run
from pytest_gatherscatter.plugin.step import Steps


def test_ctrl_c_names_the_telling_of_steps(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that hangs as a test ends: the last frame that pytest shows is not pika's."""
    steps = Steps("test_it.py::test_steps")
    with steps("burst"):
        pass

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, end)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("GATHERSCATTER_BROKER", f"amqp://127.0.0.1:{silent.getsockname()[1]}")
        run = Run(pytestconfig)
        run.met = True
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt) as caught:
                run.tell_steps(steps)
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
    assert str(caught.value) == "while telling the lab about steps"
    assert traceback.extract_tb(caught.tb)[-1].filename == module.__file__
