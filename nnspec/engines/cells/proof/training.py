"""The training problem inside an evidence file, in exact numbers.

    objective = offset + scale * (sum_i w_i rho(r_i) + penalty) + price of the support,
    r_i = t_i - f_i o_i,   o_i = sum_k v_k sigma(w_k.x_i + b_k) + c.

f_i = 1 and t_i = y_i but for hinges, where f_i is the sample's sign and t_i the margin. Each loss is a conjugate,

    rho(r) = max over lo <= u <= hi of  alpha u r - beta u^2,

with alpha = 2, beta = 1 for squares (lo = 0: squared hinge), 1, 1/2, |u| <= delta for Huber's loss, and 1, 0 for the
piecewise-linear ones. The largest error has sum |u_i| <= 1 instead of bounds for each u. For `errors` r > 0 counts as
one; that is no maximum, but r <= 0 for a sample that is right, and 0 >= u r for u >= 0 (see `tree`).

Unknowns of a neuron, in which outputs are linear for a given piece of its activation:

* relu, leaky_relu, abs: theta = v (w, b);
* hardtanh: theta = v (w, b), then v;
* step, sign: v.

Neurons with tied weights share them: see `orbits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean

from nnspec.engines.cells.proof.exact import EvidenceError, number, numbers
from nnspec.engines.cells.proof.orbits import Entries, Limit, Orbit, orbits, read_entries

REACH = 10_000
"""Where boxes do not imply bounds on the unknowns, the proof speaks of those up to REACH times the size of the data."""

HOMOGENEOUS = ("relu", "leaky_relu", "abs")
THRESHOLD = ("step", "sign")
ACTIVATIONS = (*HOMOGENEOUS, "hardtanh", *THRESHOLD)


@dataclass(frozen=True)
class Loss:
    """alpha, beta, lo, hi of the module's docstring."""

    alpha: Fraction
    beta: Fraction
    lo: Limit
    hi: Limit


@dataclass(frozen=True, eq=False)
class Training:
    """See the module's docstring. lo, hi (H, d + 1): boxes of (w_k, b_k), of which b_k is 0 without hidden biases.

    Boxes and penalties here are those of the neurons as they stand; `orbits` have what the ties leave of them.
    """

    activation: str
    alpha: Fraction
    kind: str
    loss: Loss
    delta: Fraction
    margin: Fraction
    x: list[list[Fraction]]
    target: list[Fraction]
    factor: list[Fraction]
    weights: list[Fraction]
    biased: bool
    output_bias: bool
    lo: list[list[Limit]]
    hi: list[list[Limit]]
    out_lo: list[Limit]
    out_hi: list[Limit]
    c_lo: Limit
    c_hi: Limit
    hidden_decay: list[list[Fraction]]
    output_decay: list[Fraction]
    constant_decay: Fraction
    scale: Fraction
    offset: Fraction
    entries: Entries
    orbits: list[Orbit]
    # what the claim's reach is measured in
    shift: list[Fraction]
    width: list[Fraction]
    reach: list[Fraction]  # (d + 1,) of v w_j, and of v (b + w.shift)
    level: Fraction
    unit: Fraction  # reach of v and of c - level

    @property
    def tied(self) -> bool:
        return any(entry != (e, 1) for e, entry in enumerate(self.entries))

    @property
    def samples(self) -> int:
        return len(self.x)

    @property
    def neurons(self) -> int:
        return len(self.lo)

    @property
    def columns(self) -> int:
        """d + 1."""
        return len(self.lo[0])

    @property
    def pieces(self) -> int:
        return 3 if self.activation == "hardtanh" else 2

    @property
    def own(self) -> int:
        """Unknowns of a neuron."""
        return 1 if self.activation in THRESHOLD else self.columns + (self.activation == "hardtanh")

    @property
    def penalised(self) -> bool:
        return any(any(row) for row in self.hidden_decay) or any(self.output_decay) or self.constant_decay != 0

    def row(self, i: int) -> list[Fraction]:
        """(x_i, 1), or (x_i, 0) where neurons have no biases."""
        return [*self.x[i], Fraction(int(self.biased))]

    def feature(self, piece: int, i: int) -> list[Fraction]:
        """The neuron's contribution to the output in its unknowns."""
        zero, one = Fraction(0), Fraction(1)
        if self.activation in THRESHOLD:
            return [one if piece else -one if self.activation == "sign" else zero]
        row = self.row(i)
        if self.activation == "hardtanh":
            return [*row, zero] if piece == 1 else [zero] * len(row) + [one if piece else -one]
        slope = one if piece else {"relu": zero, "abs": -one}.get(self.activation, self.alpha)
        return [slope * v for v in row]

    def cut(self, c: int, i: int) -> list[Fraction]:
        """Linear form of the unknowns, times v >= 0: pieces above cut c have it >= 0, the others <= 0."""
        if self.activation in THRESHOLD:
            return [Fraction(0)]
        row = self.row(i)
        return [*row, Fraction(-1 if c else 1)] if self.activation == "hardtanh" else row

    def side(self, c: int, i: int) -> list[Fraction]:
        """What decides on which side of cut c a sample is: a form of (w, b), for hardtanh of v (w, b) and v > 0."""
        return self.row(i) if self.activation in THRESHOLD else self.cut(c, i)


def read(p: dict) -> Training:  # type: ignore[type-arg]
    """The problem of a file. Raises EvidenceError, KeyError, TypeError where it is not one."""
    activation, kind = p["activation"], p["loss"]
    if activation not in ACTIVATIONS:
        raise EvidenceError(f"unknown activation {activation!r}")
    quantile, margin, delta = number(p["quantile"]), number(p["margin"]), number(p["delta"])
    x, y, weights = [numbers(row) for row in p["x"]], numbers(p["y"]), numbers(p["weights"])
    lo, hi = [_limits(row) for row in p["lo"]], [_limits(row) for row in p["hi"]]
    out_lo, out_hi = _limits(p["out_lo"]), _limits(p["out_hi"])
    d, count = len(x[0]), len(lo)
    shapes = [len(y) == len(x), len(weights) == len(x), len(hi) == len(out_lo) == len(out_hi) == count >= 1]
    shapes += [len(row) == d for row in x] + [len(row) == d + 1 for row in (*lo, *hi)]
    decay = p["decay"]
    hidden, output = [numbers(r) for r in decay["hidden"]], numbers(decay["output"])
    constant, scale = number(decay["constant"]), number(p["scale"])
    shapes += [len(hidden) == len(output) == count] + [len(row) == d + 1 for row in hidden]
    if not all(shapes) or not all(isinstance(p[n], bool) for n in ("bias", "output_bias")):
        raise EvidenceError("the problem's arrays do not fit together")
    if kind == "huber" and delta <= 0:
        raise EvidenceError("the loss's delta is not positive")
    if any(v <= 0 for v in (*weights, scale)) or any(v < 0 for r in (*hidden, output, [constant]) for v in r):
        raise EvidenceError("a weight or a penalty has the wrong sign")
    if any(a is not None and b is not None and a > b for low, high in ((lo, hi), ([out_lo], [out_hi]))
           for r, s in zip(low, high, strict=True) for a, b in zip(r, s, strict=True)):  # fmt: skip
        raise EvidenceError("a box is empty")
    biased = p["bias"]
    if not biased and any(v != 0 for row in (*lo, *hi) for v in row[-1:]):
        raise EvidenceError("a bias that is not there has a box")
    if activation not in HOMOGENEOUS and any(any(row) for row in hidden):
        raise EvidenceError("hidden weights of such neurons do not decay")
    inside = all((a is None or a < 0) and (b is None or b > 0) for r, s in zip(lo, hi, strict=True)
                 for a, b in zip(r, s, strict=True))  # fmt: skip
    if activation in THRESHOLD and not (biased and inside):
        raise EvidenceError("step and sign neurons need boxes with 0 inside")
    hinge = kind in ("hinge", "squared_hinge", "errors")
    if hinge and any(v not in (-1, 1) for v in y):
        raise EvidenceError("a target is neither -1 nor 1")
    c_lo, c_hi = _limits([p["c_lo"], p["c_hi"]])
    if not p["output_bias"]:
        c_lo = c_hi = Fraction(0)
    if c_lo is not None and c_hi is not None and c_lo > c_hi:
        raise EvidenceError("a box is empty")
    outputs = None if not hinge else max(1.0, float(margin)) if kind == "errors" else 1.0
    entries = read_entries(p["ties"], count * (d + 2) + 1)
    if entries[-1][1] == 0:
        if not ((c_lo is None or c_lo <= 0) and (c_hi is None or c_hi >= 0)):
            raise EvidenceError("the ties leave a weight no value")
        c_lo = c_hi = Fraction(0)
    found = orbits(entries, lo, hi, out_lo, out_hi, hidden, output)
    if activation in THRESHOLD and not all(o.rising for o in found):
        raise EvidenceError("ties keep the biases of step and sign neurons from growing")
    shift, width, reach, level, unit = _reach(x, y, weights, biased, c_lo if c_lo == c_hi else None, outputs)
    return Training(activation, number(p["alpha"]), kind, _loss(kind, quantile, delta), delta, margin, x,
                    [margin] * len(x) if hinge else y, y if hinge else [Fraction(1)] * len(x), weights, biased,
                    p["output_bias"], lo, hi, out_lo, out_hi, c_lo, c_hi, hidden, output, constant,
                    scale, number(p["offset"]), entries, found, shift, width, reach, level, unit)  # fmt: skip


def _limits(values: list) -> list[Limit]:  # type: ignore[type-arg]
    return [None if v is None else number(v) for v in values]


def _loss(kind: str, quantile: Fraction, delta: Fraction) -> Loss:
    zero, one, half = Fraction(0), Fraction(1), Fraction(1, 2)
    match kind:
        case "sse" | "mse":
            return Loss(2 * one, one, None, None)
        case "squared_hinge":
            return Loss(2 * one, one, zero, None)
        case "huber":
            return Loss(one, half, -delta, delta)
        case "hinge":
            return Loss(one, zero, zero, one)
        case "pinball":
            return Loss(one, zero, quantile - 1, quantile)
        case "sae" | "mae" | "max_error":
            return Loss(one, zero, -one, one)
        case "errors":
            return Loss(one, zero, zero, None)
    raise EvidenceError(f"unknown loss {kind!r}")


def _reach(x: list[list[Fraction]], y: list[Fraction], weights: list[Fraction], biased: bool, fixed: Limit,
           outputs: float | None
           ) -> tuple[list[Fraction], list[Fraction], list[Fraction], Fraction, Fraction]:  # fmt: skip
    """shift, width, reach, level and unit; outputs: their size where targets are labels.

    They say what the claim is about, no more, so floats are good enough."""
    columns = [[float(row[j]) for row in x] for j in range(len(x[0]))]
    shift = [fmean(column) if biased else 0.0 for column in columns]
    width = [max(abs(v - s) for v in column) for column, s in zip(columns, shift, strict=True)]
    width = [w if w > 1e-9 * max(1.0, abs(s)) else 1.0 for w, s in zip(width, shift, strict=True)]
    targets = [float(v) for v in y]
    if fixed is not None:
        level = float(fixed)
    else:
        level = 0.0 if outputs is not None else fmean(targets, [float(w) for w in weights])
    unit = (outputs if outputs is not None else max(abs(v - level) for v in targets)) or 1.0
    reach = [Fraction(REACH * unit / w) for w in (*width, 1.0)]
    return numbers(shift), numbers(width), reach, Fraction(level), Fraction(REACH * unit)


def loss_of(problem: Training, i: int, output: Fraction) -> Fraction:
    """The loss of one sample, without its weight."""
    r = problem.target[i] - problem.factor[i] * output
    match problem.kind:
        case "errors":
            return Fraction(int(r > 0))
        case "sse" | "mse":
            return r * r
        case "squared_hinge":
            return max(r, Fraction(0)) ** 2
        case "huber":
            return r * r / 2 if abs(r) <= problem.delta else problem.delta * (abs(r) - problem.delta / 2)
    assert problem.loss.lo is not None
    assert problem.loss.hi is not None
    return max(problem.loss.lo * r, problem.loss.hi * r)
