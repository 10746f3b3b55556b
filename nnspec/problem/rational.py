"""Floats as the short fractions that they stand for."""

from __future__ import annotations

import math
from fractions import Fraction

LARGEST_DENOMINATOR = 10**6


def short_fraction(value: float) -> Fraction | None:
    """The simplest fraction that a float stands for: one with a denominator of at most LARGEST_DENOMINATOR within
    four units in the last place, so that 0.1 is 1/10 and a scaled value is what it was meant to be; None if there is
    none."""
    found = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    return found if abs(float(found) - value) <= 4 * math.ulp(value) else None
