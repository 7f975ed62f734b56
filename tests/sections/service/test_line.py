"""Sections whose way to the lab breaks, or is barred."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest
from faultproxy import FaultProxy
from livelab import Lab, demand, opened, sockets

from pytest_gatherscatter.broker.provider import Found
from pytest_gatherscatter.broker.url import parse
from pytest_gatherscatter.errors import LoginRefused
from pytest_gatherscatter.sections.section import SectionState, Waiting, verdict
from pytest_gatherscatter.sections.service.workload import Workloads


@pytest.fixture
def here(embedded_url: str, lab: str, tmp_path: Path) -> Iterator[Lab]:
    """A lab with a gatherer; its parties reach the broker directly."""
    with opened(embedded_url, lab, tmp_path) as one:
        one.gatherer()
        yield one


@pytest.fixture
def proxy(here: Lab) -> Iterator[FaultProxy]:
    """A way to the broker that can break."""
    url = parse(here.url)
    with FaultProxy(url.host, url.port) as one:
        yield one


def through(proxy: FaultProxy, lab: Lab, **given: object) -> Workloads:
    """Workloads that reach the broker through the proxy."""
    workloads = lab.workloads(**given)
    port = parse(lab.url).port
    found = Found(lab.url.replace(f":{port}", f":{proxy.port}"), "url", "given")
    return Workloads(
        workloads.settings,
        found,
        run="0" * 16,
        on_wait=lab.waits.append,
        tickets=lab.place / "tickets",
        locks=lab.place,
    )


def test_a_connection_lost_while_gathering(here: Lab, proxy: FaultProxy) -> None:
    """It comes back on a queue of another name, and goes on where it was."""
    workloads = through(proxy, here)
    timers = [Timer(0.4, proxy.cut), Timer(0.9, lambda: here.monitor("scope"))]
    for timer in timers:
        timer.start()
    visit = workloads.gather(demand(here, require={"scope"}, gather_timeout=20.0))
    for timer in timers:
        timer.join()
    workloads.enter(visit)
    assert verdict(workloads.leave(visit, "passed")) == []


def test_a_connection_lost_between_gathered_and_go(here: Lab, proxy: FaultProxy) -> None:
    """Gathered, and cut off before the commit: it comes back and commits."""
    here.monitor("scope")
    workloads = through(proxy, here)
    visit = workloads.gather(demand(here, require={"scope"}))
    proxy.cut()
    section = workloads.enter(visit)
    assert section.state is SectionState.RUNNING
    assert verdict(workloads.leave(visit, "passed")) == []
    assert here.tickets == []


def test_a_way_back_that_is_barred_for_a_while(here: Lab, proxy: FaultProxy) -> None:
    """A broker that is away when the body ends is waited for, and then told."""
    here.monitor("scope")
    workloads = through(proxy, here)
    visit = workloads.gather(demand(here, require={"scope"}))
    workloads.enter(visit)
    proxy.refuse()
    timer = Timer(1.0, lambda: proxy.refuse(on=False))
    timer.start()
    began = time.monotonic()
    section = workloads.leave(visit, "passed")
    timer.join()
    assert time.monotonic() - began >= 1.0
    assert verdict(section) == []
    assert here.tickets == []


def test_a_way_back_that_stays_barred(here: Lab, proxy: FaultProxy) -> None:
    """Unreported within its bound, with the ticket left for whoever meets the gatherer next."""
    workloads = through(proxy, here)
    visit = workloads.gather(demand(here, report_timeout=0.2))
    workloads.enter(visit)
    proxy.refuse()
    began = time.monotonic()
    section = workloads.leave(visit, "passed")
    assert time.monotonic() - began < 8.0
    assert section.state is SectionState.UNREPORTED
    assert "broker" in section.unreported_because
    assert verdict(section) == []  # nothing was demanded
    assert here.tickets == [f"{section.id}.ticket"]
    other = here.workloads()
    proxy.refuse(on=False)
    visit = workloads.gather(demand(here))
    workloads.enter(visit)
    workloads.leave(visit, "passed")
    assert here.tickets == []
    other.withdraw(other.gather(demand(here)), "seen")


def test_a_stalled_broker_does_not_hold_the_body_up(here: Lab, proxy: FaultProxy) -> None:
    """Cut off without a word while gathering: found out by heartbeats, then refused in time."""
    workloads = through(proxy, here)
    visit = workloads.gather(demand(here, gather_timeout=2.0))
    proxy.stall()
    began = time.monotonic()
    with pytest.raises(Exception, match=r"went away|no go came"):
        workloads.enter(visit)
    assert time.monotonic() - began < 10.0
    proxy.stall(on=False)


def test_a_refused_login_is_told_at_once(here: Lab) -> None:
    """A wrong password is no absence: it is raised, unless the policy says to run anyway."""
    url = parse(here.url)
    wrong = Found(f"amqp://nobody:wrong@{url.host}:{url.port}/", "url", "given")
    workloads = Workloads(here.settings(), wrong, run="0" * 16, locks=here.place)
    began = time.monotonic()
    with pytest.raises(LoginRefused):
        workloads.gather(demand(here))
    assert time.monotonic() - began < 1.5
    visit = workloads.gather(demand(here, no_gatherer="run"))
    assert "refuses the login" in visit.section.alone_because
    workloads.enter(visit)
    workloads.leave(visit, "passed")


def test_an_interrupt_out_of_on_wait(here: Lab) -> None:
    """What ``on_wait`` raises ends the wait, and the section is withdrawn."""
    before = sockets()

    def stop(waiting: Waiting) -> None:
        raise KeyboardInterrupt(waiting.state)

    workloads = Workloads(
        here.settings(),
        Found(here.url, "url", "given"),
        run="0" * 16,
        on_wait=stop,
        tickets=here.place / "tickets",
        locks=here.place,
    )
    with pytest.raises(KeyboardInterrupt):
        workloads.gather(demand(here, require={"scope"}))
    assert sockets() == before
    here.until(lambda status: not status.sections)
