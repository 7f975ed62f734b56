"""Look for octets that the embedded broker does not survive, guided by what its code covers.

    python tests/embedded/fuzz.py FOLDER [tests/embedded/corpus] [-max_total_time=300] [...]

Needs atheris, which is in no group of this project: ``pip install atheris``. New inputs go to
FOLDER; one that fails is written beside it as ``crash-...``: mend the broker, and put the input
into ``tests/embedded/corpus``, from where each run of the tests plays it again. Further options
are libFuzzer's; ``-merge=1 NEW OLD`` keeps the fewest inputs that cover as much.
"""

import random
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

sys.path.insert(0, str(Path(__file__).parent.parent))

with atheris.instrument_imports(include=["pytest_gatherscatter.embedded", "pamqp"]):
    import fuzzplay

LONGEST = 1 << 14
"""Octets of an input: enough for some hundred methods."""


def mutated(data: bytes, longest: int, seed: int) -> bytes:
    """Half of the time keep frames whole, else change any octet."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    if chance.random() < 0.5:
        data = fuzzplay.mutate(chance, data, atheris.Mutate(data, longest))
        return data[:longest]
    return bytes(atheris.Mutate(data, longest))


def main() -> None:
    """Play until something breaks, or for as long as libFuzzer's options say."""
    atheris.Setup(
        [*sys.argv, f"-max_len={LONGEST}"],
        fuzzplay.play,
        custom_mutator=mutated,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
