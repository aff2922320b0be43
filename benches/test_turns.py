"""The order in which contenders are measured."""

from itertools import pairwise

import pytest

from benches.turns import Turns


@pytest.mark.parametrize("count", range(2, 11))
@pytest.mark.parametrize("seed", range(5))
def test_nobody_has_two_turns_in_a_row(count: int, seed: int) -> None:
    turns = Turns(seed)
    taken = []
    for _ in range(200):
        order = turns.order(range(count))
        assert sorted(order) == list(range(count))
        taken += order
    assert all(one != next_ for one, next_ in pairwise(taken))


@pytest.mark.parametrize("seed", range(50))
def test_nor_after_the_last_one_of_a_round_has_fallen_out(seed: int) -> None:
    turns = Turns(seed)
    *_, left, fallen = turns.order("abcd")
    assert turns.order([each for each in "abcd" if each != fallen])[0] != left


def test_everybody_comes_first_and_follows_everybody_else() -> None:
    turns = Turns()
    orders = [turns.order("abcd") for _ in range(200)]
    taken = [each for order in orders for each in order]
    assert {order[0] for order in orders} == set("abcd")
    assert len(set(pairwise(taken))) == 4 * 3


def test_one_alone_and_none() -> None:
    turns = Turns()
    assert [turns.order(each) for each in ("a", "a", "", "a")] == [["a"], ["a"], [], ["a"]]


def test_the_seed_says_the_orders() -> None:
    def orders(seed: int) -> list[list[str]]:
        turns = Turns(seed)
        return [turns.order("abcdefgh") for _ in range(10)]

    assert orders(3) == orders(3) != orders(4)
