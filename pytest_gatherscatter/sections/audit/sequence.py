"""The sections of a bench, one after the other: none overlaps another, and tokens grow."""

from collections.abc import Callable, Iterable
from itertools import pairwise

from pytest_gatherscatter.sections.audit.claim import GathererClaim, Key, WorkloadClaim
from pytest_gatherscatter.sections.audit.remark import ROUNDING, Said, saying


def overlaps_here(claims: Iterable[WorkloadClaim]) -> Said:
    """Look that on one host's clock no two sections of a bench overlap, by whom ever led."""
    benches: dict[tuple[str, str, str], list[tuple[float, float, Key]]] = {}
    for one in claims:
        begin = one.local.started if one.local.started is not None else one.local.t0
        if begin is not None:
            end = begin if one.local.stopped is None else one.local.stopped
            benches.setdefault((one.clock, one.lab, one.bench), []).append((begin, end, one.key))
    for spans in benches.values():
        yield from _overlaps(spans, lambda _: 0.0)


def overlaps_between_hosts(claims: Iterable[WorkloadClaim]) -> Said:
    """Look at the same across hosts, on the gatherer's clock and beyond what is known of it."""
    benches: dict[tuple[str, str, str], list[tuple[float, float, Key]]] = {}
    bounds: dict[Key, float] = {}
    for one in claims:
        if one.started is not None and one.stopped is not None and one.local.started is not None:
            span = (one.started, one.stopped, one.key)
            benches.setdefault((one.gatherer, one.lab, one.bench), []).append(span)
            bounds[one.key] = one.bound or 0.0
    for spans in benches.values():
        yield from _overlaps(spans, lambda key: bounds[key])


def _overlaps(spans: list[tuple[float, float, Key]], bound: Callable[[Key], float]) -> Said:
    for (_, end, key), (begin, _, other) in pairwise(sorted(spans)):
        over = end - begin - bound(key) - bound(other)
        if over > ROUNDING:
            yield saying(other)("overlap", f"began {over:.6f} s before {key[1]} was over")


def order(claims: Iterable[GathererClaim]) -> Said:
    """Look that tokens grow, and that each bench was open when the next was committed."""
    benches: dict[tuple[str, str], list[GathererClaim]] = {}
    tokens: dict[tuple[str, int], str] = {}
    for one in claims:
        other = tokens.setdefault((one.lab, one.token), one.section)
        if other != one.section:
            yield saying(one.key)("token", f"{one.token} is that of {other} too")
        if one.committed is not None:
            benches.setdefault((one.lab, one.bench), []).append(one)
    for committed in benches.values():
        committed.sort(key=lambda one: one.gone_at or 0)
        for before, after in pairwise(committed):
            yield from _follows(before, after)


def _follows(before: GathererClaim, after: GathererClaim) -> Said:
    say = saying(after.key)
    if after.token <= before.token:
        yield say("token", f"{after.token} follows {before.token} of {before.section}")
    if before.over_at is None or before.over_at > (after.gone_at or 0):
        yield say("overlap", f"was committed while {before.section} had the bench")
    earlier, later = before.committed, after.committed
    same = earlier is not None and later is not None and earlier.clock == later.clock
    if same and before.ended is not None and later is not None:
        over = before.ended.ended_at - later.sent
        if over > ROUNDING:
            yield say("overlap", f"was committed {over:.6f} s before {before.section} ended")
