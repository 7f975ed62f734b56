"""Opening a link although somebody may own what it needs: the dead are outlasted, no others."""

from collections.abc import Callable

import pytest

from pytest_gatherscatter.broker import incumbent
from pytest_gatherscatter.broker.incumbent import outlast
from pytest_gatherscatter.broker.link import Link
from pytest_gatherscatter.broker.topology import Consumer, Queue, Topology, lab_topology
from pytest_gatherscatter.errors import BrokerRefused, NameTaken, SettingsInvalid


def named(lab: str) -> Topology:
    """A name: an exclusive inbox."""
    return lab_topology(lab) + Topology(queues=(Queue(f"gs.{lab}.me", exclusive=True),))


def alone(lab: str) -> Topology:
    """A durable queue that only one may consume."""
    queue = f"gs.{lab}.mine"
    return lab_topology(lab) + Topology(
        queues=(Queue(queue, durable=True),), consumers=(Consumer(queue, exclusive=True),)
    )


@pytest.mark.parametrize("need", [named, alone])
def test_who_goes_away_is_outlasted(
    broker_url: str,
    lab: str,
    need: Callable[[str], Topology],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its name, or its queue, is free at the next try; who waits is told for what, once."""
    monkeypatch.setattr(incumbent, "PAUSE", 0.05)
    caplog.set_level("INFO", logger=incumbent.__name__)
    with (
        Link(broker_url, need(lab), name="first") as first,
        Link(broker_url, need(lab), name="second") as second,
    ):
        first.open(10)

        def goes() -> bool:
            first.close()
            return False

        outlast(second, goes, "somebody has it")
        assert second.up
    assert [one.getMessage() for one in caplog.records if one.name == incumbent.__name__] == [
        "waits 20 s at most for who may be dead: somebody has it"
    ]


@pytest.mark.parametrize(("need", "code"), [(named, 405), (alone, 403)])
def test_who_stays_is_told(
    broker_url: str, lab: str, need: Callable[[str], Topology], code: int
) -> None:
    """In the caller's words, as a mistake in the name that was given."""
    with Link(broker_url, need(lab), name="first") as first:
        first.open(10)
        with pytest.raises(SettingsInvalid, match="somebody has it") as told:
            outlast(Link(broker_url, need(lab), name="second"), lambda: True, "somebody has it")
        cause = told.value.__cause__
        assert isinstance(cause, BrokerRefused)
        assert cause.code == code
        assert isinstance(cause, NameTaken) == (code == 405)


def test_what_is_refused_for_another_reason_is_not_waited_for(broker_url: str, lab: str) -> None:
    """A queue that was declared otherwise stays so."""
    with Link(broker_url, alone(lab), name="first") as first:
        first.open(10)
    other = Topology(queues=(Queue(f"gs.{lab}.mine", durable=True, arguments={"x-max-length": 1}),))
    with pytest.raises(BrokerRefused) as told:
        outlast(Link(broker_url, other, name="second"), lambda: False, "somebody has it")
    assert told.value.code == 406
