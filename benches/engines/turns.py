"""Who is measured when."""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def turns(names: Sequence[T], rounds: int, seed: int = 1) -> Iterator[list[T]]:
    """The order of each round: drawn anew, but nobody has two turns in a row.

    Whoever follows itself finds the caches as it left them: here a delivery
    then costs 10 to 20 per cent less.
    """
    draw = random.Random(seed)
    last: T | None = None
    for _ in range(rounds):
        order = draw.sample(names, len(names))
        while len(names) > 1 and order[0] == last:
            order = draw.sample(names, len(names))
        last = order[-1]
        yield order
