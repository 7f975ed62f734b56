"""Embedded brokers as real processes, for the tests of their shell."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pika
import pytest

from pytest_gatherscatter.embedded.address import Address, read_address

PATIENCE = 20.0
T = TypeVar("T")


def until(ask: Callable[[], T | None], what: str) -> T:
    """Ask again until there is an answer; fails after a while, which is never part of a test."""
    end = time.monotonic() + PATIENCE
    while (answer := ask()) is None:
        if time.monotonic() > end:
            pytest.fail(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(0.005)
    return answer


@dataclass
class Running:
    """A broker that accepts."""

    process: subprocess.Popen[bytes]
    path: Path
    address: Address

    def connect(self, **changed: object) -> pika.BlockingConnection:
        """One more client."""
        parameters = pika.URLParameters(self.address.url)
        for name, value in changed.items():
            setattr(parameters, name, value)
        return pika.BlockingConnection(parameters)


def start(path: Path, *arguments: str) -> Running:
    """Start a broker that ends with this process at the latest."""
    command = [sys.executable, "-m", "pytest_gatherscatter.embedded", "--address-file", str(path)]
    process = subprocess.Popen([*command, "--parent-pid", str(os.getpid()), *arguments])
    address = until(lambda: read_address(path), "the broker's address")
    return Running(process, path, address)
