"""Affine forms with rational coefficients over integer variables, and the functions of them that CP-SAT knows.

A form f = c_0 + sum c_j x_j with rational c is an integer multiple of 1/s, where s is the least common denominator of
its coefficients: wherever a function of f needs an integer variable, that variable is s f. Bounds are intervals over
those of the variables, in exact arithmetic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from nnspec.backends.cpsat import IntegerProgram
from nnspec.problem.rational import LARGEST_DENOMINATOR, short_fraction

FEW_VALUES = 5
"""Products with a variable of at most so many values are written case by case; others are left to the solver's own
product, which keeps intervals only."""

Number = Fraction | int


class NotExact(Exception):
    """Something that has no exact form in integers; says what, in the user's words."""


def rational(value: float, what: str) -> Fraction:
    """The short fraction that a float stands for. Raises NotExact."""
    found = short_fraction(value)
    if found is None:
        raise NotExact(f"{what} {value!r} is no fraction with a denominator of at most {LARGEST_DENOMINATOR}")
    return found


@dataclass(frozen=True)
class Form:
    """constant + sum of coefficient * variable."""

    terms: Mapping[int, Fraction]
    constant: Fraction = Fraction(0)

    @staticmethod
    def of(value: Form | Number) -> Form:
        return value if isinstance(value, Form) else Form({}, Fraction(value))

    @property
    def is_constant(self) -> bool:
        return not self.terms

    @property
    def denominator(self) -> int:
        """The least s for which s times the form has integer coefficients."""
        return math.lcm(self.constant.denominator, *(c.denominator for c in self.terms.values()))

    def __add__(self, other: Form | Number) -> Form:
        return total([self, Form.of(other)])

    def __neg__(self) -> Form:
        return self.times(-1)

    def __sub__(self, other: Form | Number) -> Form:
        return self + Form.of(other).times(-1)

    def times(self, factor: Number) -> Form:
        if factor == 0:
            return Form({})
        return Form({j: c * factor for j, c in self.terms.items()}, self.constant * factor)


def total(forms: Sequence[Form]) -> Form:
    """The sum of forms."""
    terms: dict[int, Fraction] = {}
    constant = Fraction(0)
    for form in forms:
        constant += form.constant
        for j, c in form.terms.items():
            terms[j] = terms.get(j, Fraction(0)) + c
    return Form({j: c for j, c in terms.items() if c != 0}, constant)


class Builder:
    """An IntegerProgram in the making; functions of forms are forms again. Equal functions share their variables."""

    def __init__(self) -> None:
        self.program = IntegerProgram()
        self._kept: dict[object, Form] = {}

    # -- variables and rows ------------------------------------------------------------------------------------------

    def variable(self, values: Sequence[Fraction]) -> Form:
        """A variable with a finite set of values (two values: a binary, spaced evenly: an integer)."""
        values = sorted(set(values))
        if len(values) == 1:
            return Form.of(values[0])
        step = values[1] - values[0]
        if all(b - a == step for a, b in itertools.pairwise(values)):
            return Form({self.program.integer(0, len(values) - 1): step}, values[0])
        s = math.lcm(*(v.denominator for v in values))
        integers = [int(v * s) for v in values]
        return Form({self.program.integer(integers[0], integers[-1], values=integers): Fraction(1, s)})

    def integer_range(self, lo: int, hi: int) -> Form:
        return Form.of(lo) if lo == hi else Form({self.program.integer(lo, hi): Fraction(1)})

    def bounds(self, form: Form) -> tuple[Fraction, Fraction]:
        """The least and the largest value that the variables' ranges allow."""
        lo = hi = form.constant
        for j, c in form.terms.items():
            a, b = c * self.program.lo[j], c * self.program.hi[j]
            lo, hi = lo + min(a, b), hi + max(a, b)
        return lo, hi

    def integers(self, form: Form) -> tuple[dict[int, int], int, int]:
        """(terms, constant, scale): scale times the form, in integers without a common factor."""
        s = form.denominator
        return {j: int(c * s) for j, c in form.terms.items()}, int(form.constant * s), s

    def require(self, form: Form, when: Sequence[int] = ()) -> None:
        """form >= 0, if the literals `when` hold; the constant is rounded down to what the terms can reach."""
        terms, constant, _ = self.integers(form)
        if not terms:
            if constant < 0:
                self.program.clause([-b - 1 for b in when])  # an empty clause is false
            return
        g = math.gcd(*terms.values())
        self.program.row({j: c // g for j, c in terms.items()}, -(constant // g), None, when)

    def equal(self, form: Form, when: Sequence[int] = ()) -> None:
        """form == 0, if the literals hold."""
        terms, constant, _ = self.integers(form)
        g = math.gcd(*terms.values()) if terms else 1
        if (not terms and constant != 0) or constant % g:
            self.program.clause([-b - 1 for b in when])
        elif terms:
            self.program.row({j: c // g for j, c in terms.items()}, -constant // g, -constant // g, when)

    def evaluate(self, form: Form) -> Callable[[Sequence[int]], Fraction]:
        """The form as a function of the variables' values."""
        return lambda x: form.constant + sum((c * x[j] for j, c in form.terms.items()), Fraction(0))

    def single(self, form: Form, scale: int | None = None) -> int:
        """The number of a variable that equals scale * form (default: the least scale that makes it an integer)."""
        s = form.denominator if scale is None else scale
        scaled = form.times(s)
        if len(scaled.terms) == 1 and scaled.constant == 0:
            (j, c), = scaled.terms.items()
            if c == 1:
                return j
        key = ("single", tuple(sorted(scaled.terms.items())), scaled.constant)
        if key not in self._kept:
            lo, hi = self.bounds(scaled)
            value = self.evaluate(scaled)
            j = self.program.integer(int(lo), int(hi), lambda x: int(value(x)))
            self.equal(scaled - Form({j: Fraction(1)}))
            self._kept[key] = Form({j: Fraction(1)})
        (j, _), = self._kept[key].terms.items()
        return j

    # -- functions ---------------------------------------------------------------------------------------------------

    def literal(self, form: Form) -> int | None:
        """The literal that a form with values in {0, 1} is, if it is one."""
        if len(form.terms) == 1:
            (j, c), = form.terms.items()
            if self.program.lo[j] == 0 and self.program.hi[j] == 1:
                if c == 1 and form.constant == 0:
                    return j
                if c == -1 and form.constant == 1:
                    return -j - 1
        return None

    @staticmethod
    def form_of(literal: int) -> Form:
        if literal >= 0:
            return Form({literal: Fraction(1)})
        return Form({-literal - 1: Fraction(-1)}, Fraction(1))

    def nonnegative(self, form: Form) -> Form:
        """1 if form >= 0, else 0: a constant or a literal."""
        lo, hi = self.bounds(form)
        if lo >= 0 or hi < 0:
            return Form.of(int(lo >= 0))
        terms, constant, _ = self.integers(form)
        g = math.gcd(*terms.values())
        whole = {j: c // g for j, c in terms.items()}
        least = -(constant // g)  # g (whole . x) + constant >= 0  <=>  whole . x >= least
        if len(whole) == 1:
            (j, c), = whole.items()
            if (self.program.lo[j], self.program.hi[j]) == (0, 1):  # it holds at one end only
                return Form({j: Fraction(1)}) if c > 0 else Form({j: Fraction(-1)}, Fraction(1))
        key = ("nonnegative", tuple(sorted(whole.items())), least)
        if key not in self._kept:
            b = self.program.integer(0, 1, lambda x: int(sum(c * x[j] for j, c in whole.items()) >= least))
            self.program.row(whole, least, None, [b])
            self.program.row(whole, None, least - 1, [-b - 1])
            self._kept[key] = Form({b: Fraction(1)})
        return self._kept[key]

    def maximum(self, forms: Sequence[Form]) -> Form:
        """max of forms, exactly."""
        ranges = [self.bounds(f) for f in forms]
        least = max(lo for lo, _ in ranges)
        kept = [f for f, (_, hi) in zip(forms, ranges) if hi > least]
        if not any(self.bounds(f)[0] == least for f in kept):
            kept.append(Form.of(least))  # whoever has this lower bound has no larger value
        if len(kept) == 1:
            return kept[0]
        s = math.lcm(*(f.denominator for f in kept))
        key = ("maximum", s, tuple((tuple(sorted(f.terms.items())), f.constant) for f in kept))
        if key not in self._kept:
            top = max(self.bounds(f)[1] for f in kept)
            values = [self.evaluate(f.times(s)) for f in kept]
            parts = [self._affine(f.times(s)) for f in kept]
            y = self.program.integer(int(least * s), int(top * s), lambda x: int(max(v(x) for v in values)))
            self.program.maximum(y, parts)
            self._kept[key] = Form({y: Fraction(1, s)})
        return self._kept[key]

    def _affine(self, form: Form) -> tuple[int, int, int]:
        """(factor, variable, constant) of an integer form; one of several variables gets a variable of its own."""
        if form.is_constant:
            return 0, 0, int(form.constant)
        if len(form.terms) == 1:
            (j, c), = form.terms.items()
            return int(c), j, int(form.constant)
        return 1, self.single(form, 1), 0

    def minimum(self, forms: Sequence[Form]) -> Form:
        return -self.maximum([-f for f in forms])

    def magnitude(self, form: Form) -> Form:
        """|form|."""
        return self.maximum([form, -form])

    def product(self, a: Form, b: Form) -> Form:
        """a * b: linear in what is a binary or has few values, the solver's own product otherwise."""
        if a.is_constant or b.is_constant:
            return b.times(a.constant) if a.is_constant else a.times(b.constant)
        if not self._binary(a) and self._binary(b):
            a, b = b, a
        if self._binary(a):
            (j, c), = a.terms.items()
            lo = a.constant + c * self.program.lo[j]
            return b.times(lo) + self._where(j, b).times(c)
        if self._few(b) and not self._few(a):
            a, b = b, a
        key = ("product", *sorted((tuple(sorted(f.terms.items())), f.constant) for f in (a, b)))
        if key not in self._kept:
            self._kept[key] = self._cases(a, b) if self._few(a) else self._product(a, b)
        return self._kept[key]

    def square(self, form: Form) -> Form:
        return self.product(form, form)

    def _binary(self, form: Form) -> bool:
        return len(form.terms) == 1 and all(
            (self.program.lo[j], self.program.hi[j]) == (0, 1) for j in form.terms
        )

    def _few(self, form: Form) -> bool:
        return len(form.terms) == 1 and all(
            self.program.hi[j] - self.program.lo[j] < FEW_VALUES for j in form.terms
        )

    def _where(self, b: int, form: Form) -> Form:
        """form if the binary b is 1, else 0."""
        if list(form.terms) == [b]:
            return Form({b: form.constant + form.terms[b]})  # b (c b + d) = (c + d) b
        if self._binary(form):
            (k, c), = form.terms.items()
            return Form({b: form.constant}) + self._both(b, k).times(c)
        s = form.denominator
        scaled = form.times(s)
        key = ("where", b, tuple(sorted(scaled.terms.items())), scaled.constant)
        if key not in self._kept:
            lo, hi = self.bounds(scaled)
            value = self.evaluate(scaled)
            y = self.program.integer(min(0, int(lo)), max(0, int(hi)), lambda x: int(x[b] * value(x)))
            self.equal(scaled - Form({y: Fraction(1)}), [b])
            self.equal(Form({y: Fraction(1)}), [-b - 1])
            self._kept[key] = Form({y: Fraction(1)})
        return self._kept[key].times(Fraction(1, s))

    def _both(self, a: int, b: int) -> Form:
        """The conjunction of two binaries."""
        a, b = min(a, b), max(a, b)
        key = ("both", a, b)
        if key not in self._kept:
            y = self.program.integer(0, 1, lambda x: x[a] * x[b])
            self.program.clause([-y - 1, a])
            self.program.clause([-y - 1, b])
            self.program.clause([y, -a - 1, -b - 1])
            self._kept[key] = Form({y: Fraction(1)})
        return self._kept[key]

    def _range(self, a: Form, b: Form) -> tuple[Fraction, Fraction]:
        corners: list[Fraction] = [p * q for p in self.bounds(a) for q in self.bounds(b)]
        return (Fraction(0) if a == b else min(corners)), max(corners)

    def _cases(self, a: Form, b: Form) -> Form:
        """a * b, one pair of rows for each value of the variable of a."""
        (j, c), = a.terms.items()
        s = a.denominator * b.denominator
        lo, hi = self._range(a, b)
        value, other = self.evaluate(a), self.evaluate(b)
        y = self.program.integer(math.floor(min(lo, Fraction(0)) * s), math.ceil(hi * s),
                                 lambda x: int(value(x) * other(x) * s))  # fmt: skip
        for k in range(self.program.lo[j], self.program.hi[j] + 1):
            self.equal(b.times((a.constant + c * k) * s) - Form({y: Fraction(1)}), [self.is_value(j, k)])
        return Form({y: Fraction(1, s)})

    def is_value(self, j: int, k: int) -> int:
        """The literal x_j = k."""
        lo, hi = self.program.lo[j], self.program.hi[j]
        if (lo, hi) == (0, 1):
            return j if k == 1 else -j - 1
        key = ("is", j, k)
        if key not in self._kept:
            b = self.program.integer(0, 1, lambda x: int(x[j] - k == 0))
            at_least, at_most = self.nonnegative(Form({j: Fraction(1)}, Fraction(-k))), self.nonnegative(
                Form({j: Fraction(-1)}, Fraction(k))
            )
            # b <=> x >= k and x <= k, where not both can fail
            self.equal(at_least + at_most - 1 - Form({b: Fraction(1)}))
            self._kept[key] = Form({b: Fraction(1)})
        (b, _), = self._kept[key].terms.items()
        return b

    def _product(self, a: Form, b: Form) -> Form:
        s, t = a.denominator, b.denominator
        x, y = self.single(a, s), self.single(b, t)
        lo, hi = self._range(a, b)
        z = self.program.integer(math.floor(lo * s * t), math.ceil(hi * s * t), lambda v: v[x] * v[y])
        self.program.product(z, x, y)
        return Form({z: Fraction(1, s * t)})
