"""All pairs of values, in few cases: who meets whom, without playing everything with everything."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

Case = dict[str, str]
Pair = tuple[tuple[str, str], tuple[str, str]]


def product(factors: Mapping[str, Sequence[str]]) -> list[Case]:
    """List all cases."""
    return [
        dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())
    ]


def pairs(case: Case) -> set[Pair]:
    """List the pairs of values that a case has."""
    return set(itertools.combinations(sorted(case.items()), 2))


def pairwise(cases: Sequence[Case], pairs_of: Callable[[Case], set[Pair]] = pairs) -> list[Case]:
    """Choose from ``cases`` so that every pair which occurs is kept, the most useful case first.

    Of equally useful cases that one is taken whose values were taken least, else the first: so
    the choice is the same each time, and turns through all values.
    """
    missing = set[Pair]().union(*map(pairs_of, cases))
    chosen: list[Case] = []
    used = Counter[tuple[str, str]]()

    def use(case: Case) -> tuple[int, int]:
        return len(pairs_of(case) & missing), -sum(used[value] for value in case.items())

    while missing:
        best = max(cases, key=use)
        chosen.append(best)
        used.update(best.items())
        missing -= pairs_of(best)
    return chosen
