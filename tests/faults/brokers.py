"""Brokers that can be killed and started again where they were."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

import brokerprocess
import rabbitmq


class Mortal(Protocol):
    """A broker of one test's own, or of a few tests that each leave it running."""

    url: str

    def kill(self) -> None:
        """End it by SIGKILL; its data stay."""

    def start(self) -> None:
        """Start it where it was; it accepts when this returns."""

    def freeze(self) -> None:
        """Stop it where it is."""

    def thaw(self) -> None:
        """Let it go on."""


class MortalEmbedded:
    """An embedded broker: the same address file gives it its port and password back."""

    def __init__(self, place: Path) -> None:
        self._path = place / "address"
        self.start()
        self.url = self._running.address.url

    def start(self) -> None:
        """Start it; the address file has the same URL as before."""
        self._running = brokerprocess.start(self._path)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._running.process.pid

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._running.process.kill()
        self._running.process.wait()

    def freeze(self) -> None:
        """Stop it where it is."""
        self._running.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._running.process.send_signal(signal.SIGCONT)


class MortalRabbit:
    """A RabbitMQ node with ports and data of its own."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True)
        self._place = place
        self._amqp, dist, epmd = rabbitmq._ports(3)
        self._environment = os.environ | rabbitmq._environment(place, self._amqp, dist, epmd)
        self.url = f"amqp://guest:guest@127.0.0.1:{self._amqp}"
        self._log = (place / "node.log").open("wb")
        self._epmd = self._spawn("epmd", "-port", str(epmd))
        self.start()

    def _spawn(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            words,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def start(self) -> None:
        """Boot the node on the data that are there."""
        program = rabbitmq.server()
        assert program is not None
        self._node = self._spawn(str(program))
        end = time.monotonic() + rabbitmq.BOOT_SECONDS
        while not rabbitmq._answers(self._amqp):
            assert time.monotonic() < end, (self._place / "node.log").read_text()[-2000:]
            assert self._node.poll() is None, (self._place / "node.log").read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """End it by SIGKILL, with the shell around it."""
        os.killpg(self._node.pid, signal.SIGKILL)
        self._node.wait()

    def freeze(self) -> None:
        """Stop it where it is."""
        os.killpg(self._node.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self._node.pid, signal.SIGCONT)

    def close(self) -> None:
        """End node and epmd."""
        self.kill()
        self._epmd.kill()
        self._epmd.wait()
        self._log.close()
