"""What a person sees of balancers: what waits, and who is in their tables."""

from collections.abc import Sequence

import msgspec

from pytest_gatherscatter.cli.output import say_json, say_table
from pytest_gatherscatter.wire.roundrobin import BalancerSeen

SERVICE = ("service", "balancer", "policy", "backlog", "given", "done", "busy", "expired", "lost")
WORKER = ("worker", "host", "services", "slots", "free", "given", "done", "heard")


def show_balancers(seen: Sequence[BalancerSeen], *, as_json: bool) -> None:
    """Print the tables of balancers; with ``as_json`` a list of workers, each with its balancer."""
    if as_json:
        say_json(
            [
                {
                    **msgspec.to_builtins(worker),
                    "free": worker.free,
                    "given": worker.given,
                    "done": worker.done,
                    "silent": round(worker.silent, 3),
                    "leaving": worker.leaving,
                    "balancer": balancer_name(one),
                }
                for one in seen
                for worker in one.workers
            ]
        )
        return
    say_table(
        "service",
        SERVICE,
        [
            (
                *(each.service, balancer_name(one), _policy(one), each.backlog, each.given),
                *(each.done, each.busy, each.expired, each.lost),
            )
            for one in seen
            for each in one.services
        ],
    )
    say_table(
        "worker",
        WORKER,
        [
            (
                *(worker.worker, worker.host, ",".join(worker.services) or "leaves"),
                *(worker.slots, worker.free, worker.given, worker.done, f"{worker.silent:.1f} s"),
            )
            for one in seen
            for worker in one.workers
        ],
    )


def balancer_name(one: BalancerSeen) -> str:
    """Name a balancer so that it can be found."""
    return f"{one.host}:{one.pid}"


def _policy(one: BalancerSeen) -> str:
    standing = "drains" if one.draining else "settles" if one.settling else ""
    return f"{one.policy} ({standing})" if standing else one.policy
