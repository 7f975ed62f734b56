"""Fencing tokens: which of those that somebody claims to have seen are believed.

Tokens only grow, so whoever believes a claim leaves all lower ones behind for good. One forged
or mangled claim near the end of the numbers must not do that to a lab, nor to a monitor.
"""

LAST_CLAIM = 2**53 - 2**32
"""The highest token that is believed when somebody claims to have seen it: above it there are
still more than anybody will use, and 2**53 is the last that JSON can say."""


def believable(token: int) -> bool:
    """Say whether a token that somebody tells of may be remembered as the highest seen."""
    return token <= LAST_CLAIM
