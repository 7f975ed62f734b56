"""The table: which fault strikes whom at which step, and what the user must see, and when.

Keys are (party, step, fault). What a user sees may depend on whether the section requires the
monitor; then there are two entries. Exit statuses are those of ``gatherscatter workload``;
pytest's are 0 and 1.
"""

from dataclasses import dataclass
from functools import cache, partial

from faults.pairwise import Case, Pair, pairs, pairwise, product
from faults.step import FAULTS

AT_ONCE, SOON, LATER = "at once", "< 10 s", "< 30 s"
WITHIN = {AT_ONCE: 5.0, SOON: 10.0, LATER: 30.0}
"""Seconds from the fault until the user knows. "At once" is what nobody would call waiting, on
a machine that starts several processes meanwhile."""


@dataclass(frozen=True)
class Sees:
    """What the user sees: a line, an exit status, and whether the body ran, in which time.

    ``words`` is an expression that the output must match; of a workload that is dead, the output
    of the next run on its host. Empty: as if nothing had happened.
    """

    words: str = ""
    status: int = 0
    ran: bool = True
    within: str = AT_ONCE


Either = Sees | tuple[Sees, Sees]
"""The same whether the monitor is required or not, or (required, optional)."""

NOTHING = Sees()
UNMEASURED = Sees(r"LAB: unmeasured: scope", status=1, within=SOON)
MISSED = Sees(r"LAB: .* missed the Go", 75, ran=False)
MISSING = Sees(r"LAB: not gathered after \d+ s: scope \(vanished\)", 75, ran=False, within=SOON)
# Which of the two comes first, the end of the waiting or of the keepalives, is the clock's affair.
UNHEARD_OF = Sees(r"scope: (?=no report in time|died in the section)", within=SOON)
CAME_BACK = Sees(r"scope: died in the section and came back")
FORGOTTEN = (
    Sees(r"LAB: .*the gatherer has no record of the section", 1),
    Sees(r"the gatherer has no record of the section"),
)
UNHEARD = r"no gatherer answered in 2 s"
TOLD = r"told the gatherer that a former section is over"

BROKER_STEPS = ("idle", "gathering", "inside", "reporting")

TABLE: dict[tuple[str, str, str], Either] = {
    # ── the gatherer ──
    ("gatherer", "entering", "restarted"): NOTHING,
    ("gatherer", "entering", "forgetful"): NOTHING,
    ("gatherer", "entering", "frozen"): (
        Sees(rf"LAB: {UNHEARD}: nobody could measure it", 69, ran=False),
        Sees(rf"alone: {UNHEARD}"),
    ),
    ("gatherer", "gathering", "restarted"): NOTHING,
    ("gatherer", "gathering", "forgetful"): NOTHING,
    ("gatherer", "gathering", "frozen"): NOTHING,
    ("gatherer", "gathered", "restarted"): NOTHING,
    ("gatherer", "gathered", "forgetful"): NOTHING,
    ("gatherer", "gathered", "frozen"): NOTHING,
    ("gatherer", "committed", "restarted"): MISSED,
    ("gatherer", "committed", "forgetful"): NOTHING,
    ("gatherer", "committed", "frozen"): NOTHING,
    ("gatherer", "inside", "restarted"): NOTHING,
    ("gatherer", "inside", "forgetful"): NOTHING,
    ("gatherer", "inside", "frozen"): NOTHING,
    ("gatherer", "reporting", "restarted"): NOTHING,
    ("gatherer", "reporting", "forgetful"): FORGOTTEN,
    ("gatherer", "reporting", "frozen"): NOTHING,
    ("gatherer", "closed", "restarted"): NOTHING,
    ("gatherer", "closed", "forgetful"): FORGOTTEN,
    ("gatherer", "closed", "frozen"): NOTHING,
    # ── the monitor ──
    ("monitor", "gathering", "killed"): (MISSING, NOTHING),
    ("monitor", "gathering", "restarted"): NOTHING,
    ("monitor", "gathering", "frozen"): NOTHING,
    ("monitor", "gathered", "killed"): (MISSING, NOTHING),
    ("monitor", "gathered", "restarted"): NOTHING,
    ("monitor", "gathered", "frozen"): NOTHING,
    ("monitor", "going", "killed"): (UNMEASURED, UNHEARD_OF),
    ("monitor", "going", "frozen"): NOTHING,
    ("monitor", "inside", "killed"): (UNMEASURED, UNHEARD_OF),
    ("monitor", "inside", "restarted"): (UNMEASURED, CAME_BACK),
    ("monitor", "inside", "frozen"): NOTHING,
    ("monitor", "reporting", "killed"): (UNMEASURED, UNHEARD_OF),
    ("monitor", "reporting", "frozen"): NOTHING,
    # ── the workload ──
    ("workload", "queued", "killed"): Sees(ran=False),
    ("workload", "queued", "crashed"): Sees(ran=False),
    ("workload", "queued", "frozen"): NOTHING,
    ("workload", "gathering", "killed"): Sees(ran=False),
    ("workload", "gathering", "crashed"): Sees(ran=False),
    ("workload", "gathering", "frozen"): NOTHING,
    ("workload", "ready", "killed"): Sees(TOLD, ran=False),
    ("workload", "ready", "crashed"): Sees(TOLD, ran=False),
    ("workload", "ready", "frozen"): NOTHING,
    ("workload", "inside", "killed"): Sees(TOLD),
    ("workload", "inside", "crashed"): Sees(TOLD),
    ("workload", "inside", "frozen"): NOTHING,
    ("workload", "reporting", "killed"): Sees(TOLD),
    ("workload", "reporting", "crashed"): Sees(TOLD),
    ("workload", "reporting", "frozen"): NOTHING,
    # ── the broker ──
    **{("broker", step, "restarted"): Sees(within=LATER) for step in BROKER_STEPS},
    # Not before anybody enters: whether a freeze of 3 s outlasts a handshake of 2 s depends on
    # how fast the test starts.
    **{("broker", step, "frozen"): NOTHING for step in BROKER_STEPS[1:]},
}


@dataclass(frozen=True)
class Other:
    """A row that is no step of a party that comes back: who stays away, is too many or too late."""

    told: str
    where: str
    sees: Sees


OTHERS = {
    "no gatherer": Other(
        "is the gatherer, killed for good,",
        "as the test asks to enter",
        Sees(r"LAB: no gatherer in the lab: nobody could measure it", 69, ran=False),
    ),
    "accepted": Other(
        "is the gatherer, killed for good,",
        "while the monitor arms",
        Sees(
            r"LAB: the gatherer went away and did not come back in \d+ s",
            75,
            ran=False,
            within=SOON,
        ),
    ),
    "gatherer gone": Other(
        "is the gatherer, killed for good,",
        "in the section",
        Sees(r"LAB: the gatherer did not answer in 10 s", 1, within=LATER),
    ),
    "broker gone": Other(
        "is the broker, killed for good,",
        "in the section",
        Sees(r"LAB: the broker could not be reached again in 10 s", 1, within=LATER),
    ),
    "second gatherer": Other(
        "is a second gatherer",
        "in the section",
        Sees(r"has a gatherer already", 1),
    ),
    "second monitor": Other(
        "is a second monitor of the same name",
        "while the monitor arms",
        Sees(r"has an agent 'scope' already", 1, within=SOON),
    ),
    "thawed": Other(
        "is the test, frozen until its deadline has passed,",
        "while the Go is in its socket",
        Sees(r"its body was not run", 75, ran=False),
    ),
    "power cycle": Other(
        "is the gatherer, its host power-cycled,",
        "in the section",
        Sees(within=LATER),
    ),
}
"""Rows of their own; played in ``test_others.py``."""

FACTORS = {
    party: {
        "step": tuple(dict.fromkeys(step for one, step, _ in TABLE if one == party)),
        "fault": tuple(FAULTS[party]),
        "broker": ("embedded", "rabbitmq"),
        "scope": ("required", "optional"),
        "user": ("command", "pytest"),
    }
    for party in FAULTS
}
"""What a case is made of, party by party."""


def allowed(party: str, case: Case) -> bool:
    """Say whether a case can be played.

    Only a test suite has a driver that crashes it, and not every fault is in the table.
    """
    listed = (party, case["step"], case["fault"]) in TABLE
    return listed and (case["fault"] != "crashed" or case["user"] == "pytest")


def pairs_of(party: str, case: Case) -> set[Pair]:
    """List what a case covers: its pairs, and the row of the table that it plays."""
    row = (party, case["step"], case["fault"])
    rows = {(("row", str(row)), ("scope", case["scope"]))} if one_of_two(row) else set()
    if party == "broker" and case["fault"] == "restarted":  # each broker at each step
        rows.add((("row", str(row)), ("broker", case["broker"])))
    return pairs(case) | rows


def one_of_two(row: tuple[str, str, str]) -> bool:
    """Say whether it matters to a row that the monitor is required."""
    return isinstance(TABLE[row], tuple)


@cache
def cases() -> list[tuple[str, Case]]:
    """List all cases with their party: whatever can meet, does."""
    return [
        (party, case)
        for party, factors in FACTORS.items()
        for case in pairwise(
            [case for case in product(factors) if allowed(party, case)], partial(pairs_of, party)
        )
    ]


def sees(party: str, case: Case) -> Sees:
    """Look up what the user must see."""
    found = TABLE[party, case["step"], case["fault"]]
    return found if isinstance(found, Sees) else found[case["scope"] == "optional"]
