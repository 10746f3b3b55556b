"""Groups of signed permutations: their orders, and that they act as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnspec.problem import groups
from nnspec.problem.problem import Group


def group(*generators: groups.Generator) -> Group:
    return Group("", tuple(generators))


@pytest.mark.parametrize(
    ("generators", "order"),
    [
        (groups.swap(4, 1, 3), 2),
        (groups.signflip(3, 1), 2),
        *[(groups.cyclic(n, range(n)), n) for n in range(1, 8)],
        *[(groups.permutations(n, range(n)), math.factorial(n)) for n in range(2, 7)],
        *[(groups.d4(n), 8) for n in range(2, 6)],
        (groups.d4(3, channels=2), 8),
        *[(groups.translations(r, c), r * c) for r in (1, 2, 3) for c in (1, 2, 5)],
        (groups.swap(3, 0, 1) + groups.signflip(3, 0), 8),  # symmetries of the square
        (tuple(g for i in range(3) for g in groups.signflip(3, i)), 8),
        (groups.permutations(3, range(3)) + groups.signflip(3, 0), 48),  # of the cube
    ],
)
def test_orders(generators: tuple[groups.Generator, ...], order: int) -> None:
    assert groups.order(Group("", generators)) == order


def test_a_group_that_is_too_large_is_not_counted() -> None:
    assert groups.order(Group("", groups.permutations(9, range(9))), most=1000) is None


def test_cyclic_shifts_and_permutes_only_its_positions() -> None:
    (g,) = groups.cyclic(5, [0, 2, 4])
    np.testing.assert_array_equal(groups.act(g, np.array([[10.0, 11, 12, 13, 14]])), [[12, 11, 14, 13, 10]])


def test_d4_turns_images_as_numpy_does() -> None:
    x = np.arange(18.0).reshape(1, 2, 3, 3)
    turn, mirror = groups.d4(3, channels=2)
    turned = groups.act(turn, x.reshape(1, -1)).reshape(2, 3, 3)
    assert any(np.array_equal(turned, np.rot90(x[0], k, axes=(1, 2))) for k in (1, 3))
    np.testing.assert_array_equal(groups.act(mirror, x.reshape(1, -1)).reshape(2, 3, 3), x[0, :, :, ::-1])


def test_translations_roll_images() -> None:
    x = np.arange(12.0).reshape(3, 4)
    down, right = groups.translations(3, 4)
    np.testing.assert_array_equal(groups.act(down, x.reshape(1, -1)).reshape(3, 4), np.roll(x, -1, axis=0))
    np.testing.assert_array_equal(groups.act(right, x.reshape(1, -1)).reshape(3, 4), np.roll(x, -1, axis=1))


def test_composition_is_one_action_after_the_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        g, h = (
            (tuple(int(i) for i in rng.permutation(5)), tuple(int(s) for s in rng.choice([-1, 1], 5))) for _ in range(2)
        )
        x = rng.normal(size=(3, 5))
        np.testing.assert_array_equal(groups.act(groups.compose(g, h), x), groups.act(g, groups.act(h, x)))


def test_orbits() -> None:
    assert groups.orbits(group(groups.swap(5, 0, 3)[0], groups.cyclic(5, [1, 2])[0])) == [[0, 3], [1, 2], [4]]


def test_homomorphisms() -> None:
    swap, flip = group(*groups.swap(2, 0, 1)), group(*groups.signflip(1, 0))
    assert groups.is_homomorphism(swap, flip)
    assert groups.is_homomorphism(group(*groups.cyclic(4, range(4))), flip)
    assert groups.is_homomorphism(group(*groups.cyclic(3, range(3))), flip) is False
    sign = [*groups.signflip(1, 0), *groups.signflip(1, 0)]
    assert groups.is_homomorphism(group(*groups.permutations(3, range(3))), group(*sign))  # the sign of a permutation
    assert groups.is_homomorphism(group(*groups.d4(3)), group(*groups.signflip(1, 0), groups.identity(1)))
    big = group(*groups.permutations(8, range(8)))
    assert groups.is_homomorphism(big, big, most=100) is None
