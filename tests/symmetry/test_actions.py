"""Orbit types against enumeration: all homomorphisms into signed permutations, up to the order and signs of neurons."""

from __future__ import annotations

import itertools

import pytest

from nnspec.problem import groups
from nnspec.problem.groups import Generator, compose, identity
from nnspec.problem.problem import Group
from nnspec.symmetry.actions import (
    FiniteGroup,
    TooLargeError,
    choices,
    count_choices,
    direct_sum,
    orbit_types,
    with_signs_changed,
)

GROUPS = {
    "swap": groups.swap(2, 0, 1),
    "cyclic(3)": groups.cyclic(3, range(3)),
    "cyclic(4)": groups.cyclic(4, range(4)),
    "permutations(0..2)": groups.permutations(3, range(3)),
    "two flips": groups.signflip(2, 0) + groups.signflip(2, 1),
    "d4": groups.d4(2),
    "identity": (identity(2),),
}


def signed_permutations(n: int, signs: bool) -> list[Generator]:
    choices_of_signs = list(itertools.product((1, -1), repeat=n)) if signs else [(1,) * n]
    return [(p, s) for p in itertools.permutations(range(n)) for s in choices_of_signs]


def inverse(g: Generator) -> Generator:
    images, signs = g
    back = [0] * len(images)
    sign = [1] * len(images)
    for i, j in enumerate(images):
        back[j], sign[j] = i, signs[i]
    return tuple(back), tuple(sign)


def classes(generators: tuple[Generator, ...], n: int, signs: bool) -> set[frozenset]:
    """All actions on n neurons, as classes under a change of their order and signs."""
    all_of = signed_permutations(n, signs)
    found = set()
    for images in itertools.product(all_of, repeat=len(generators)):
        if groups.is_homomorphism(Group("", generators), Group("", images)):
            found.add(frozenset(tuple(compose(compose(c, g), inverse(c)) for g in images) for c in all_of))
    return found


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("signs", [False, True])
def test_every_action_is_found_once(name: str, signs: bool) -> None:
    generators = GROUPS[name]
    group = FiniteGroup(generators)
    for n in (1, 2, 3):
        wanted = classes(generators, n, signs)
        types = orbit_types(group, n, signs)
        found = [direct_sum(c) for c in choices(types, n)]
        assert len(found) == len(wanted) == count_choices([t.size for t in types], n)
        for wanted_class in wanted:
            assert sum(f in wanted_class for f in found) == 1


def test_orbits_of_the_square_group() -> None:
    """D4 has eight classes of subgroups; 2x2 grids give a faithful action."""
    types = orbit_types(FiniteGroup(groups.d4(2)), 8, False)
    assert sorted(t.size for t in types) == [1, 2, 2, 2, 4, 4, 4, 8]
    assert types[0].name == "1"
    assert len({t.name for t in types}) == 8


def test_signs_that_ranges_tell_apart() -> None:
    """On two exchanged neurons the second may enter with either sign: x, y -> y, x or -y, -x."""
    (pair,) = (t for t in orbit_types(FiniteGroup(groups.swap(2, 0, 1)), 2, False) if t.size == 2)
    assert [t.generators for t in with_signs_changed(pair)] == [(((1, 0), (1, 1)),), (((1, 0), (-1, -1)),)]


def test_large_groups_are_refused() -> None:
    with pytest.raises(TooLargeError, match="200 elements"):
        FiniteGroup(groups.permutations(6, range(6)))
    flips = tuple(g for i in range(7) for g in groups.signflip(7, i))
    with pytest.raises(TooLargeError, match="subgroups"):
        FiniteGroup(flips).subgroups()
