"""What is played covers what can happen, and the page tells all of it."""

from faults import page
from faults.pairwise import pairs, pairwise, product
from faults.table import FACTORS, TABLE, allowed, cases, one_of_two


def test_every_pair_meets() -> None:
    """Each two values of a party's factors that can be played together are, in some case."""
    for party, factors in FACTORS.items():
        possible = set().union(*(pairs(one) for one in product(factors) if allowed(party, one)))
        played = set().union(*(pairs(case) for one, case in cases() if one == party))
        assert played == possible


def test_every_row_is_played() -> None:
    """Each row, and where it matters with the monitor required and optional; each on its broker."""
    played = {(party, case["step"], case["fault"]) for party, case in cases()}
    assert played == set(TABLE)
    for row in TABLE:
        mine = [case for party, case in cases() if (party, case["step"], case["fault"]) == row]
        if one_of_two(row):
            assert {case["scope"] for case in mine} == {"required", "optional"}
        if row[0] == "broker" and row[2] == "restarted":
            assert {case["broker"] for case in mine} == {"embedded", "rabbitmq"}


def test_pairs_need_few_cases() -> None:
    """Four factors of three values: 81 cases, and every pair in at most fifteen."""
    factors = dict.fromkeys("abcd", ("x", "y", "z"))
    chosen = pairwise(product(factors))
    assert len(product(factors)) == 81
    assert len(chosen) <= 15
    assert set().union(*map(pairs, chosen)) == set().union(*map(pairs, product(factors)))


def test_the_page_has_all_rows_and_no_others() -> None:
    """A row that nobody plays any more is not left standing."""
    assert page.rows_on_page() == page.rows_that_must_be()
