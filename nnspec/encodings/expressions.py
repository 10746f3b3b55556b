"""User expressions as rows, with their direction.

`value(e, direction)` returns a quadratic expression v over columns such that, at every point the rows allow,
    v == e  (direction 0),   v >= e  (+1, for what is minimised or bounded from above),   v <= e  (-1),
and v = e can always be reached. With a direction convex functions need one side only, so no binaries and no equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nnspec.bounds.interval import Interval
from nnspec.encodings.activations import activation
from nnspec.encodings.context import Context
from nnspec.encodings.losses import encode_loss
from nnspec.encodings.maximum import maximum_of, top_class
from nnspec.encodings.products import multiply
from nnspec.encodings.runs import Runs
from nnspec.encodings.sizes import Sizes
from nnspec.encodings.squares import weighted_squares
from nnspec.errors import Span, UnsupportedError, diagnostic
from nnspec.problem import expression as ex
from nnspec.problem.network import Activation
from nnspec.program import Affine, Quadratic, product, stack

_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "exp": math.exp, "log": math.log, "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tanh": math.tanh,
    "abs": abs,
}  # fmt: skip


class Expressions:
    """The encoder of user expressions."""

    def __init__(self, context: Context, variables: dict[str, Affine], runs: Runs, sizes: Sizes):
        self.context = context
        self.variables = variables
        self.runs = runs
        self.sizes = sizes
        self._known: dict[tuple[ex.Expression, int], Quadratic] = {}
        runs.affine = self.affine

    # -- values -----------------------------------------------------------------------------------------------------

    def value(self, e: ex.Expression, direction: int = 0) -> Quadratic:
        """The expression as a quadratic one over columns, shape ()."""
        match e:
            case ex.Constant(value=v):
                return Quadratic.of(v)
            case ex.VariableRef(name=name):
                return Quadratic.of(self.variables[name])
            case ex.ParameterRef(parameter=name, index=index):
                return Quadratic.of(self.runs.tensor(name)[index].reshape(()))
            case ex.Sum():
                return self._sum(e, direction)
            case ex.Product() | ex.Quotient() if (simple := self._single_term(e)) is not None:
                factor, atom = simple
                return self.value(atom, _turned(direction, factor)) * factor
        key = (e, direction)
        if key not in self._known:
            self._known[key] = self._known.get((e, 0)) or self._atom(e, direction)
        return self._known[key]

    def affine(self, e: ex.Expression, direction: int = 0) -> Affine:
        """Like `value`, with a column of its own where the value is quadratic."""
        v = self.value(e, direction)
        if not len(v.values):
            return v.affine
        lo, hi = quadratic_bounds(self.context, v)
        t = self.context.program.add_variables(_word(e), (), lo, hi, span=e.span, complete=v.value)
        side = (-np.inf if direction > 0 else 0.0, np.inf if direction < 0 else 0.0)
        self.context.program.add_quadratic(v - t, *side, f"definition of {_word(e)}", e.span)
        return t

    def bounds(self, e: ex.Expression) -> Interval:
        return Interval(*map(np.asarray, quadratic_bounds(self.context, self.value(e))))

    @staticmethod
    def _single_term(e: ex.Expression) -> tuple[float, ex.Expression] | None:
        """(factor, expression) if a product or quotient is a constant times one expression."""
        constant, terms = ex.linear_terms(e)
        if not terms:
            return constant, ex.Constant(1.0)
        if constant == 0 and len(terms) == 1 and terms[0][1] != e:
            return terms[0]
        if constant == 0 and len(terms) == 1:
            return None
        return 1.0, ex.Sum(
            (*tuple(ex.Product((ex.Constant(c), t)) for c, t in terms), ex.Constant(constant)), span=e.span
        )

    def _sum(self, e: ex.Sum, direction: int) -> Quadratic:
        constant, terms = ex.linear_terms(e)
        parts: list[Quadratic] = [Quadratic.of(constant)]
        squares: list[tuple[float, ex.Expression]] = []
        for factor, atom in terms:
            base = _squared(atom)
            if base is not None:
                squares.append((factor, base))
            else:
                parts.append(self.value(atom, _turned(direction, factor)) * factor)
        for sign in (1, -1):
            chosen = [(f, b) for f, b in squares if f * sign > 0]
            if chosen:
                bases = stack([self.affine(b) for _, b in chosen])
                weights = np.array([abs(f) for f, _ in chosen])
                parts.append(weighted_squares(self.context, bases, weights, direction * sign, _word(e), e.span) * sign)
        return total(parts)

    # -- atoms ------------------------------------------------------------------------------------------------------

    def _atom(self, e: ex.Expression, direction: int) -> Quadratic:
        match e:
            case ex.Product(factors=factors):
                return self._product(e, factors, direction)
            case ex.Quotient(numerator=a, denominator=b):
                return Quadratic.of(self._quotient(e, a, b))
            case ex.Power(base=a, exponent=k):
                return self._power(e, a, float(k), direction)
            case ex.Function(name="min" | "max"):
                return Quadratic.of(self._extreme(e, direction))
            case ex.Function(name="argmax", arguments=arguments):
                return Quadratic.of(self._argmax(e, arguments))
            case ex.Function(name="abs", arguments=(a,)):
                return Quadratic.of(self._abs(e, a, direction))
            case ex.Function(name=name, arguments=(a,)):
                return self._function(e, name, a, direction)
            case ex.NetworkOutput(network=network, arguments=arguments, output=k):
                return Quadratic.of(self.runs.output(network, arguments, k))
            case ex.Loss():
                return self._loss(e, direction)
            case ex.Size():
                return self.sizes.value(e, direction)
        raise TypeError(f"not a numeric expression: {type(e).__name__}")

    def _product(self, e: ex.Expression, factors: tuple[ex.Expression, ...], direction: int) -> Quadratic:
        base = _squared(e)
        if base is not None:
            return self._power(e, base, 2.0, direction)
        values = [self.affine(f) for f in factors]
        head = values[0]
        for v in values[1:-1]:
            head = multiply(self.context, head, v, _word(e))
        last, program = values[-1], self.context.program
        discrete = program.discrete
        if head.is_constant or last.is_constant or discrete[head.columns].any() or discrete[last.columns].any():
            return Quadratic.of(multiply(self.context, head, last, _word(e)))
        return product(program.as_variables(head, f"{_word(e)}.left", e.span),
                       program.as_variables(last, f"{_word(e)}.right", e.span))  # fmt: skip

    def _quotient(self, e: ex.Expression, a: ex.Expression, b: ex.Expression) -> Affine:
        program = self.context.program
        numerator, denominator = self.affine(a), self.affine(b)
        if denominator.is_constant:
            return numerator / denominator.constant.reshape(())
        divisor = self.context.interval(denominator)
        if divisor.lo <= 0 <= divisor.hi:
            raise UnsupportedError(diagnostic(
                "NNS153", f"the divisor may be zero: its bounds are {float(divisor.lo):g}..{float(divisor.hi):g}",
                b.span or e.span, "this divisor", help="bound what it is made of so that it stays on one side of 0",
            ))  # fmt: skip
        bounds = self.context.interval(numerator).divide(divisor)
        q = program.add_variables(_word(e), (), bounds.lo, bounds.hi, span=e.span,
                                  complete=lambda x: numerator.value(x) / denominator.value(x))  # fmt: skip
        left = multiply(self.context, q, denominator, f"{_word(e)}.product")
        program.add_linear(left - numerator, 0.0, 0.0, f"definition of {_word(e)}", e.span)
        return q

    def _power(self, e: ex.Expression, a: ex.Expression, k: float, direction: int) -> Quadratic:
        if k == 0:
            return Quadratic.of(1.0)
        if k == 1:
            return self.value(a, direction)
        base = self.affine(a)
        if base.is_constant:
            return Quadratic.of(float(base.constant[0]) ** k)
        if k == 2:
            return weighted_squares(self.context, base.reshape(1), np.ones(1), direction, _word(e), e.span)
        bounds = self.context.interval(base)
        if k < 0 and bounds.lo <= 0 <= bounds.hi:
            raise UnsupportedError(diagnostic(
                "NNS153", f"the base of a negative power may be zero: its bounds are {float(bounds.lo):g}.."
                f"{float(bounds.hi):g}", a.span or e.span, "this base",
                help="bound what it is made of so that it stays on one side of 0",
            ))  # fmt: skip
        if k != round(k):
            self._at_least_zero(base, e)
        return Quadratic.of(self.context.program.apply("power", base, _word(e), exponent=k, span=e.span))

    def _at_least_zero(self, argument: Affine, e: ex.Expression) -> None:
        if self.context.interval(argument).lo < 0:
            self.context.program.add_linear(argument, 0.0, np.inf, f"domain of {_word(e)}", e.span)

    def _function(self, e: ex.Expression, name: str, a: ex.Expression, direction: int) -> Quadratic:
        if name == "sqrt" and direction > 0 and (members := self._norm_of(a)) is not None:
            return Quadratic.of(self._norm(e, members))
        # an increasing function passes the direction on: exp of an overestimate is an overestimate; log and sqrt do
        # not, since an overestimate may lie in their domain where the argument does not
        argument = self.affine(a, direction if name in ("exp", "tanh") else 0)
        if argument.is_constant:
            return Quadratic.of(_FUNCTIONS[name](float(argument.constant[0])))
        if name in ("log", "sqrt"):
            self._at_least_zero(argument, e)
        return Quadratic.of(self.context.program.apply(name, argument, _word(e), span=e.span))

    def _norm_of(self, a: ex.Expression) -> list[Affine] | None:
        """The members of a Euclidean norm if `a` is a sum of squares with positive factors and a constant >= 0."""
        constant, terms = ex.linear_terms(a)
        bases = [(f, _squared(t)) for f, t in terms]
        if constant < 0 or not bases or any(f < 0 or b is None for f, b in bases):
            return None
        members = [self.affine(b) * math.sqrt(f) for f, b in bases if b is not None]
        return [*members, Affine.of(math.sqrt(constant))] if constant > 0 else members

    def _norm(self, e: ex.Expression, members: list[Affine]) -> Affine:
        x = stack(members)
        hi = math.sqrt(float(self.context.interval(x).power(2).sum().hi)) * (1 + 1e-12)
        t = self.context.program.add_variables(_word(e), (), 0.0, hi, span=e.span,
                                               complete=lambda v: np.asarray(np.linalg.norm(x.value(v))))  # fmt: skip
        self.context.program.add_cone(x, t, _word(e), e.span)
        return t

    def _abs(self, e: ex.Expression, a: ex.Expression, direction: int) -> Affine:
        z = self.affine(a)
        if direction > 0:
            return self._above(e, [z, -z])
        return activation(self.context, Activation("abs"), z.reshape(1), self.context.interval(z).reshape(1),
                          _word(e), e.span).reshape(())  # fmt: skip

    def _above(self, e: ex.Expression, parts: list[Affine]) -> Affine:
        """t >= each part."""
        bounds = [self.context.interval(p) for p in parts]
        lo, hi = max(float(b.lo) for b in bounds), max(float(b.hi) for b in bounds)
        t = self.context.program.add_variables(
            _word(e), (), lo, hi, span=e.span, complete=lambda x: np.max([p.value(x) for p in parts], axis=0)
        )
        for p in parts:
            self.context.program.add_linear(t - p, 0.0, np.inf, _word(e), e.span)
        return t

    def _extreme(self, e: ex.Function, direction: int) -> Affine:
        """min and max; min(a, b) = -max(-a, -b)."""
        sign = 1.0 if e.name == "max" else -1.0
        side = int(direction * sign)
        parts = [self.affine(a, direction) * sign for a in e.arguments]
        if side > 0:
            return self._above(e, parts) * sign
        x = stack(parts).reshape(1, -1)
        top = maximum_of(self.context, x, self.context.interval(x), np.arange(x.size)[None], _word(e), e.span)
        return top.reshape(()) * sign

    def _argmax(self, e: ex.Expression, arguments: tuple[ex.Expression, ...]) -> Affine:
        """sum_c c b_c for the one-hot binaries b of the largest argument."""
        scores = self.scores(arguments)
        if scores.is_constant:
            return Affine.of(float(np.argmax(scores.constant)))
        b = top_class(self.context, scores, _word(e), e.span)
        return b @ np.arange(float(len(arguments)))

    def scores(self, arguments: tuple[ex.Expression, ...]) -> Affine:
        """The arguments of an argmax, (C,), or what has its largest entry in the same place."""
        return stack([self.affine(a) for a in arguments])

    def _loss(self, e: ex.Loss, direction: int) -> Quadratic:
        data = self.context.problem.data[e.data]
        run, rows = self.runs.on_data(e.network, e.data)
        outputs = (run.scores if e.kind == "cross_entropy" else run.outputs)[rows]
        names = [str(r) for r in (data.rows or range(data.samples))]
        return encode_loss(self.context, e.kind, outputs, data.y, data.weights, direction,
                           f"{e.kind}({e.network}, {e.data})", e.span, names, e.delta, e.q, e.margin)  # fmt: skip


def total(parts: list[Quadratic]) -> Quadratic:
    """The sum of expressions of shape (), in one go."""
    affine = stack([p.affine for p in parts]).sum()
    rows = np.concatenate([p.rows for p in parts]) * 0
    arrays = [np.concatenate([getattr(p, n) for p in parts]) for n in ("left", "right", "values")]
    return Quadratic.terms(affine, rows, *arrays)


def quadratic_bounds(context: Context, q: Quadratic) -> tuple[float, float]:
    """Interval bounds of a quadratic expression of shape (), rounded outwards."""
    program = context.program
    bounds = context.interval(q.affine)
    if len(q.values):
        x, y = (Interval(program.lo[c], program.hi[c]) for c in (q.left, q.right))
        terms = Interval(*(np.where(q.left == q.right, s, p) for s, p in zip(_ends(x.power(2)), _ends(x * y))))
        bounds = bounds + terms.scale(q.values).sum()
    return float(bounds.lo), float(bounds.hi)


def _ends(i: Interval) -> tuple[np.ndarray, np.ndarray]:
    return i.lo, i.hi


def _turned(direction: int, factor: float) -> int:
    return direction if factor >= 0 else -direction


def _squared(e: ex.Expression) -> ex.Expression | None:
    """The base if `e` is the square of something."""
    match e:
        case ex.Power(base=a, exponent=2):
            return a
        case ex.Product(factors=(a, b)) if a == b:
            return a
    return None


def _word(e: ex.Expression, limit: int = 40) -> str:
    """A short name for a column or row that comes from an expression: the user's text."""
    if isinstance(e.span, Span):
        text = " ".join(e.span.text.split())
        return text if len(text) <= limit else text[: limit - 3] + "..."
    match e:
        case ex.Function(name=name):
            return name
        case ex.VariableRef(name=name) | ex.ParameterRef(parameter=name):
            return name
    return type(e).__name__.lower()
