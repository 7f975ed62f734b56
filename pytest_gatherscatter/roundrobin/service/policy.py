"""The policies of balancers: those that are built in, and those that other packages bring.

A package brings some by a module in the entry-point group ``gatherscatter``::

    [project.entry-points.gatherscatter]
    nearest = "labpolicies.nearest"

with a function that implements the hook below::

    @hookimpl
    def gatherscatter_balancing_policies():
        return {"nearest": nearest}

A policy is asked for each task that can be given at once, and told everybody with a free slot: it
costs more time with each worker, which those that are built in do not.
"""

import logging
from collections.abc import Mapping, Sequence

import pluggy

from pytest_gatherscatter.errors import SettingsInvalid
from pytest_gatherscatter.roundrobin.order import Choice
from pytest_gatherscatter.roundrobin.table import Worker

log = logging.getLogger("gatherscatter.balancer")

GROUP = "gatherscatter"

BUILT_IN = ("least-recently-used", "most-free", "affinity")

hookspec = pluggy.HookspecMarker(GROUP)


class Hooks:
    """What a package of policies may bring."""

    @hookspec
    def gatherscatter_balancing_policies(self) -> Mapping[str, Choice]:  # type: ignore[empty-body]
        """Return policies by their names, as they stand in ``--policy``.

        Each is called with a service's key, the affinity of a task (or ``""``), and the workers
        with a free slot, least recently used first. It returns the name of one of them; None, or
        any other name, means the first.
        """


def choice_of(name: str) -> Choice | None:
    """Return the policy of a name, None for one that is built in.

    Raises:
        SettingsInvalid: there is none, or a package cannot be imported.
    """
    if name in BUILT_IN:
        return None
    plugins = pluggy.PluginManager(GROUP)
    plugins.add_hookspecs(Hooks)
    try:
        plugins.load_setuptools_entrypoints(GROUP)
        brought = plugins.hook.gatherscatter_balancing_policies()
    except Exception as error:  # noqa: BLE001 - whatever somebody's package does when it is imported
        text = f"a package of policies is broken: {type(error).__name__}: {error}"
        raise SettingsInvalid(f"entry points {GROUP}", text[:1000]) from None
    known = {one: choice for policies in brought for one, choice in policies.items()}
    if name not in known:
        allowed = ", ".join((*BUILT_IN, *sorted(known)))
        raise SettingsInvalid("--policy", f"there is no policy {name!r}; allowed are {allowed}")
    return guarded(name, known[name])


def guarded(name: str, choice: Choice) -> Choice:
    """Make a policy that, where somebody's breaks, is the first with a free slot, and says so."""

    def guard(service: str, affinity: str, free: Sequence[Worker]) -> str | None:
        try:
            return choice(service, affinity, free)
        except Exception:
            log.exception("policy %s is broken: the least recently used worker is taken", name)
            return None

    return guard
