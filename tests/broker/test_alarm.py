"""A RabbitMQ that is out of memory: it takes nothing more, and nobody waits for it for ever."""

import time
from pathlib import Path

import pytest
import rabbitmq

from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.port import (
    PortDown,
    PortEvent,
    PortUp,
    Properties,
    PublishConfirmed,
)
from pytest_gatherscatter.broker.topology.sections import gatherer_topology
from pytest_gatherscatter.wire import names


def hear(link: Link, kind: type[PortEvent], seconds: float) -> PortEvent:
    """Poll until such an event comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for event in link.poll(0.1):
            if isinstance(event, kind):
                return event
    pytest.fail(f"no {kind.__name__} within {seconds:g} s")


def test_an_alarm_ends_the_wait_for_a_confirm(
    tls_node: tuple[rabbitmq.Node, Path], lab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who publishes is blocked; past the limit the link counts as down, says why, and comes back.

    On a node of its own: whoever else publishes there meanwhile is blocked too.
    """
    node, _ = tls_node
    monkeypatch.setattr("pytest_gatherscatter.broker.dial.BLOCKED_SECONDS", 1.0)
    place = names.direct_exchange(lab), names.GATHERER_KEY, b"{}", Properties(type="t")
    with Link(node.url, gatherer_topology(lab), name="test", reconnect=True) as link:
        link.open(10)
        link.publish(*place, mandatory=True)
        hear(link, PublishConfirmed, 10)
        node.ctl("set_vm_memory_high_watermark", "0.000001")
        try:
            link.publish(*place, mandatory=True)
            down = hear(link, PortDown, 10)
            assert isinstance(down, PortDown)
            assert "blocked" in down.reason.lower()
        finally:
            node.ctl("set_vm_memory_high_watermark", "0.6")
        hear(link, PortUp, 20)
        link.publish(*place, mandatory=True)
        hear(link, PublishConfirmed, 10)
