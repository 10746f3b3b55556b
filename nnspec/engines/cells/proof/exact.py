"""Exact arithmetic: floats as integers times a power of two, and linear dependences by elimination.

Every float is n / 2^e. Sums and products of such numbers stay such numbers, so bounds are computed in integers with a
known exponent, which is both exact and quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction


class EvidenceError(Exception):
    """The file does not prove what it claims."""


def number(value: object) -> Fraction:
    """A finite number of the file."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EvidenceError(f"{value!r} stands where a number belongs")
    try:
        return Fraction(value)
    except (ValueError, OverflowError):
        raise EvidenceError(f"{value} is no finite number") from None


def numbers(values: Iterable[object]) -> list[Fraction]:
    return [number(v) for v in values]


def exponent(values: Iterable[Fraction]) -> int:
    """The least e such that all values are integers times 2^-e."""
    e = 0
    for v in values:
        if v.denominator & (v.denominator - 1):
            raise EvidenceError("a number is no float")
        e = max(e, v.denominator.bit_length() - 1)
    return e


def integer(value: Fraction, e: int) -> int:
    """value * 2^e."""
    return value.numerator << (e - value.denominator.bit_length() + 1)


def integers(values: Sequence[float]) -> tuple[list[int], int]:
    """The values as integers times 2^-e, and e."""
    try:
        ratios = [v.as_integer_ratio() for v in values]
    except (AttributeError, ValueError, OverflowError):
        raise EvidenceError("a multiplier is no finite number") from None
    e = max((d.bit_length() for _, d in ratios), default=1) - 1
    return [n << (e - d.bit_length() + 1) for n, d in ratios], e


def nonnegative_dependence(rows: list[list[Fraction]]) -> bool:
    """Whether nonzero rows have a linear dependence with coefficients >= 0, by elimination.

    Only dependences that are unique up to scale are recognised: rank = number of rows - 1.
    """
    count, columns = len(rows), len(rows[0])
    if any(not any(row) for row in rows):
        return False
    work = [[rows[i][j] for i in range(count)] for j in range(columns)]  # equations over the coefficients
    pivots: list[int] = []
    r = 0
    for c in range(count):
        pivot = next((i for i in range(r, columns) if work[i][c] != 0), None)
        if pivot is None:
            continue
        work[r], work[pivot] = work[pivot], work[r]
        head = work[r][c]
        work[r] = [v / head for v in work[r]]
        for i in range(columns):
            if i != r and work[i][c] != 0:
                f = work[i][c]
                work[i] = [a - f * b for a, b in zip(work[i], work[r], strict=True)]
        pivots.append(c)
        r += 1
    free = [c for c in range(count) if c not in pivots]
    if len(free) != 1:
        return False
    return all(-work[i][free[0]] >= 0 for i in range(r))
