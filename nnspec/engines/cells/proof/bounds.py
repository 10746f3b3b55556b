"""What a certificate proves: a lower bound on loss plus penalty over all networks with a pattern, by Fenchel duality.

At a node each neuron has a piece for each sample of the path. A certificate is (u, mu, g, a, e), and for every network
with these pieces whose output weights have the signs s, in the unknowns of `training`:

* loss:      w rho(r) >= alpha w u r - beta w u^2 for lo <= u <= hi, since rho is that maximum; the largest error is at
             least sum u_i r_i if sum |u_i| <= 1; with `errors`, 0 >= u r for the samples that are to be right;
* pattern:   0 >= -mu s_k side cut(theta_k) for mu >= 0, since side cut(theta_k) s_k >= 0 (side = +1 above the cut);
* decay of hidden weights (relu, leaky_relu, abs), p_j (w, b)_j^2 and q v^2: by the inequality of the means their sum is
  at least 2 sqrt(q) |(sqrt(p_j) theta_j)_j|, and for sum p_j g_j^2 <= q this is at least sum 2 p_j g_j theta_j, by
  Cauchy's inequality;
* decay of v (the others) and of c:  q v^2 >= 2 q a v - q a^2 for any a;
* decay of relu, leaky_relu and abs neurons whose boxes do not contain 0: where v = f is fixed, p w^2 = p (theta / f)^2
  >= 2 p b theta - p f^2 b^2 for any b, and q f^2; else the bound for v above, and p times the square of the least |w|
  in its box. What leaves the problem has at least the squares of the least |w| and |v| in their boxes (`idle`).

The sum of all right-hand sides is a number plus a linear form of the unknowns. Its minimum over the boxes of the
unknowns, each neuron by itself, is the bound: multipliers of boxes need not be written down, the best ones are implied.
If its boxes contain 0 a homogeneous neuron's v (w, b) has a box of its own, since a larger |v| only enlarges it; else
lo |v| <= sign(v) v (w, b) <= hi |v| for |v| in its range. Where there is no box the reach of `training` takes its
place. Any numbers give a bound, so there is nothing to trust.

Neurons of an orbit (see `orbits`) share their unknowns: their forms are added up before the minimum is taken, and boxes
and penalties are the orbit's, of theta = n t and n. Signs are those of the orbits' n; neuron k's is e_k times that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from nnspec.engines.cells.proof.exact import EvidenceError, exponent, integer, integers, number
from nnspec.engines.cells.proof.orbits import Limit, Orbit, nearest
from nnspec.engines.cells.proof.training import HOMOGENEOUS, THRESHOLD, Training

Signs = tuple[int, ...]
Interval = tuple[int, int]
Choice = tuple[int, ...] | None  # a piece for each neuron; none for a sample that is given up (errors)


class Bounds:
    """The tables of a Training as integers times 2^-e, for some of its orbits, with smaller boxes of a support.

    used: the positions of these orbits; free (one row each): which entries of t may be nonzero; constants: ranges whose
    sum is the last unknown, the output bias among them if own. neurons: the orbit (among those used) and the member of
    each neuron.
    """

    def __init__(self, problem: Training, used: list[int], free: list[list[bool]],
                 constants: list[tuple[Limit, Limit]], own: bool) -> None:  # fmt: skip
        self.problem, self.used, self.free = problem, used, free
        lows, highs = ([pair[s] for pair in constants] for s in (0, 1))
        self.c_range = tuple(None if None in ends else sum((v for v in ends if v is not None), Fraction(0))
                             for ends in (lows, highs))  # fmt: skip
        decays = problem.constant_decay if own and len(constants) == 1 else Fraction(0)  # no square of a sum
        self.orbits = [problem.orbits[o] for o in used]
        self.neurons = [(o, m) for o, orbit in enumerate(self.orbits) for m in range(len(orbit.members))]
        self.fold = [self._fold(self.orbits[o], m) for o, m in self.neurons]
        n, alpha, beta = problem.samples, problem.loss.alpha, problem.loss.beta
        weights = [Fraction(1)] * n if problem.kind == "errors" else problem.weights
        step = [alpha * w * f for w, f in zip(weights, problem.factor, strict=True)]
        features = [[[step[i] * v for v in problem.feature(m, i)] for i in range(n)] for m in range(problem.pieces)]
        cuts = [[problem.cut(c, i) for i in range(n)] for c in range(problem.pieces - 1)]
        bias = step
        gain = [alpha * w * t for w, t in zip(weights, problem.target, strict=True)]
        square = [beta * w for w in weights]
        self.unscaled = [problem.activation in HOMOGENEOUS and orbit.apart for orbit in self.orbits]
        self.idle = self._idle()
        penalties = [[*orbit.hidden_decay, orbit.output_decay] for orbit in self.orbits]
        self.boxes = [{s: self._box(orbit, row, s) for s in (1, -1)}
                      for orbit, row in zip(self.orbits, free, strict=True)]  # fmt: skip
        c_lo, c_hi = self.c_range
        level, unit = problem.level, problem.unit
        c_box = (min(level, c_hi or level) - unit if c_lo is None else c_lo,
                 max(level, c_lo or level) + unit if c_hi is None else c_hi)  # fmt: skip
        flat = [v for table in (features, cuts) for piece in table for row in piece for v in row]
        flat += [v for row in penalties for v in row]
        flat += [*bias, *gain, *square, decays, *c_box, *problem.shift, *problem.reach]
        flat += [v for sides in self.boxes for box in sides.values() for v in box.all()]
        self.e = e = exponent(flat)

        def table(rows: list[list[list[Fraction]]]) -> list[list[list[int]]]:
            return [[[integer(v, e) for v in row] for row in piece] for piece in rows]

        self.features, self.cuts = table(features), table(cuts)
        self.bias, self.gain, self.square = ([integer(v, e) for v in a] for a in (bias, gain, square))
        self.decays = [[integer(v, e) for v in row] for row in penalties]  # of (w, b), then of v
        self.constant_decay = integer(decays, e)
        self.c_box = (integer(c_box[0], e), integer(c_box[1], e))
        self.shift, self.reach = ([integer(v, e) for v in a] for a in (problem.shift, problem.reach))
        self.intervals = [{s: box.integers(e) for s, box in sides.items()} for sides in self.boxes]
        self.loss_range = (problem.loss.lo, problem.loss.hi)

    def _idle(self) -> Fraction:
        """What the penalty is at least, whatever the unknowns are."""
        problem, total = self.problem, Fraction(0)
        for o, orbit in enumerate(problem.orbits):
            hidden = sum((p * nearest(low, high) ** 2 for p, low, high in
                          zip(orbit.hidden_decay, orbit.lo, orbit.hi, strict=True)), Fraction(0))  # fmt: skip
            outer = orbit.output_decay * nearest(orbit.out_lo, orbit.out_hi) ** 2
            if o not in self.used:
                total += hidden + outer
            elif problem.activation in HOMOGENEOUS and orbit.apart:
                total += outer if orbit.fixed is not None else hidden
        return total

    def _fold(self, orbit: Orbit, m: int) -> list[tuple[int, int]]:
        """The place and sign, among the orbit's unknowns, of each of member m's."""
        e = orbit.turned[m]
        if self.problem.activation in THRESHOLD:
            return [(0, e)]
        own = [(place, e * sign) for place, sign in orbit.places[m]]
        return own if self.problem.activation in HOMOGENEOUS else [*own, (orbit.columns, e)]

    def _box(self, orbit: Orbit, free: list[bool], s: int) -> Box:
        """The unknowns of an orbit for output weights n of sign s."""
        p = self.problem
        if p.activation in THRESHOLD:
            return Box([_reached(orbit.out_lo, orbit.out_hi, p.unit)], [], _ZERO)
        least, most = orbit.size(s)
        homogeneous = p.activation in HOMOGENEOUS and not orbit.apart
        own = list(p.reach)
        own[-1] += sum((r * abs(t) for r, t in zip(p.reach, p.shift, strict=False)), Fraction(0))
        uses = [(place, r) for row in orbit.places for (place, sign), r in zip(row, own, strict=True) if sign != 0]
        wide = [min((r for place, r in uses if place == j), default=own[-1]) for j in range(orbit.columns)]
        fixed, growing = [], []
        for j in range(orbit.columns):
            low, high = (orbit.lo[j], orbit.hi[j]) if free[j] else _ZERO
            if s < 0:  # v (w, b) = |v| (-w, -b)
                low, high = None if high is None else -high, None if low is None else -low
            if homogeneous:
                fixed.append(_reached(_times(most, low), _times(most, high), wide[j]))
            else:
                fixed.append((-wide[j], wide[j]))
                growing.append((low, high))
        return Box(fixed, growing, _ZERO if homogeneous else _reached(least, most, p.unit))

    def value(self, path: Sequence[tuple[int, Choice]], signs: Signs | None, certificate: list) -> Fraction:  # type: ignore[type-arg]
        """The bound that a certificate proves at the node `path`, pairs of a sample and the neurons' pieces.

        certificate: u (one for each step of the path), mu as (neuron, step, cut, value), and None or the pair of g
        or a for each orbit (lists) and e, with which the penalty counts. signs: None for all.
        """
        problem = self.problem
        u_floats, mu, penalty = certificate
        if len(u_floats) != len(path):
            raise EvidenceError("a certificate has the wrong length")
        neurons, own = len(self.neurons), problem.own
        decays = [v for row in penalty[0] for v in row] + [penalty[1]] if penalty is not None else []
        ints, f = integers([*u_floats, *(m[3] for m in mu), *decays])
        u, m_ints, decays = ints[: len(path)], ints[len(path) : len(path) + len(mu)], ints[len(path) + len(mu) :]
        self._check_range(u_floats)
        one = square = c_rest = 0  # scales e + f, e + 2 f, e + f
        rest = [[0] * own for _ in range(neurons)]  # scale e + f
        for (i, choice), v in zip(path, u, strict=True):
            if v == 0 or choice is None:
                continue
            one += v * self.gain[i]
            square += v * v * self.square[i]
            c_rest -= v * self.bias[i]
            for k, piece in enumerate(choice):
                row, mine = self.features[piece][i], rest[k]
                for j in range(own):
                    mine[j] -= v * row[j]
        for (k, step, c, _), v in zip(mu, m_ints, strict=True):
            if not (0 <= k < neurons and 0 <= step < len(path) and 0 <= c < problem.pieces - 1) or v < 0:
                raise EvidenceError("a multiplier is negative or belongs to nothing")
            if signs is None:
                raise EvidenceError("a multiplier of a pattern in a certificate for all signs")
            i, choice = path[step]
            if choice is None:
                raise EvidenceError("a multiplier belongs to a sample that is given up")
            o, m = self.neurons[k]
            v *= signs[o] * self.orbits[o].turned[m] * (1 if choice[k] > c else -1)
            row, mine = self.cuts[c][i], rest[k]
            for j in range(own):
                mine[j] -= v * row[j]
        forms = self._folded(rest)
        extra = Fraction(0)
        if penalty is not None:
            cost, extra = self._decay(decays, forms, f)
            square += cost
            a = decays[-1]
            c_rest += 2 * self.constant_decay * a
            square += self.constant_decay * a * a
        # all at scale 3 e + 2 f
        total = (one << f) - square << 2 * self.e
        for o, form in enumerate(forms):
            sides = (1, -1) if signs is None else (signs[o],)
            total += min(self._least(o, s, form) for s in sides) << f
        total += min(c_rest * end for end in self.c_box) << self.e + f
        return Fraction(total, 1 << 3 * self.e + 2 * f) + extra

    def _folded(self, rest: list[list[int]]) -> list[list[int]]:
        """The sum of the neurons' forms as forms of the orbits' unknowns."""
        kind = self.problem.activation
        forms = [[0] * (1 if kind in THRESHOLD else orbit.columns + (kind == "hardtanh" or unscaled))
                 for orbit, unscaled in zip(self.orbits, self.unscaled, strict=True)]  # fmt: skip
        for (o, _), places, mine in zip(self.neurons, self.fold, rest, strict=True):
            form = forms[o]
            for (place, sign), v in zip(places, mine, strict=True):
                form[place] += sign * v
        return forms

    def _check_range(self, u: list[float]) -> None:
        if self.problem.kind == "max_error":
            if sum((abs(number(v)) for v in u), Fraction(0)) > 1:
                raise EvidenceError("the multipliers of a largest error exceed 1")
            return
        lo, hi = self.loss_range
        if (lo is not None and any(v < lo for v in u)) or (hi is not None and any(v > hi for v in u)):
            raise EvidenceError("a multiplier is out of range")

    def _decay(self, decays: list[int], forms: list[list[int]], f: int) -> tuple[int, Fraction]:
        """Add the linear forms of the orbits' penalties to `forms`; what their squares cost (scale e + 2 f), and what
        else they are."""
        homogeneous, extra = self.problem.activation in HOMOGENEOUS, self.idle
        widths = [orbit.columns + unscaled if homogeneous else 1
                  for orbit, unscaled in zip(self.orbits, self.unscaled, strict=True)]  # fmt: skip
        if len(decays) != sum(widths) + 1:
            raise EvidenceError("the multipliers of a penalty have the wrong length")
        cost = start = 0
        for o, (mine, width) in enumerate(zip(forms, widths, strict=True)):
            g = decays[start : start + width]
            start += width
            *hidden, output = self.decays[o]
            fixed = self.orbits[o].fixed
            if self.unscaled[o] and fixed is not None:
                for j, (p, v) in enumerate(zip(hidden, g, strict=False)):
                    mine[j] += 2 * p * v
                    extra -= Fraction(p * v * v, 1 << self.e + 2 * f) * fixed**2
            elif homogeneous and not self.unscaled[o]:
                if sum(p * v * v for p, v in zip(hidden, g, strict=True)) > output << 2 * f:
                    raise EvidenceError("the multipliers of a penalty are too large")
                for j, v in enumerate(g):
                    mine[j] += 2 * hidden[j] * v
            else:
                mine[-1] += 2 * output * g[-1]
                cost += output * g[-1] * g[-1]
        return cost, extra

    def _least(self, o: int, s: int, form: list[int]) -> int:
        """The minimum of form . unknowns of an orbit, scale 3 e + f. form has scale e + f, boxes e.

        A member's bias b may be replaced by b + w.shift, which has a small reach although b has a large one.
        """
        e, problem, box = self.e, self.problem, self.intervals[o][s]
        if problem.activation in THRESHOLD:
            return min(form[0] * end for end in box.fixed[0]) << e
        best = self._over(box, s, [v << e for v in form], None)
        if problem.biased:
            for places in self.orbits[o].places:
                bias, sign = places[-1]
                if sign == 0 or any(place == bias and turn != 0 for place, turn in places[:-1]):
                    continue
                moved = [v << e for v in form]
                for (place, turn), shift in zip(places, self.shift, strict=False):
                    moved[place] -= form[bias] * sign * turn * shift
                best = max(best, self._over(box, s, moved, bias))
        return best

    def _over(self, box: IntegerBox, s: int, form: list[int], centred: int | None) -> int:
        """The same for a form with scale 2 e + f; `centred`: the bias that was replaced."""
        columns, wide = len(box.fixed), self.reach[-1]
        ends = [(-wide, wide) if j == centred else pair for j, pair in enumerate(box.fixed)]
        if not box.growing:  # boxes that contain 0
            return sum(min(v * end for end in pair) for v, pair in zip(form, ends, strict=True))
        # |v| in its range, |v| lo <= theta_j <= |v| hi or the reach; the form may have a coefficient of v
        constant = 0  # scale 3 e + f, like the slope in |v|
        slope = s * form[columns] << self.e if len(form) > columns else 0
        for j in range(columns):
            end = box.growing[j][0 if form[j] > 0 else 1]
            if end is None or j == centred:
                constant += min(form[j] * reached for reached in ends[j])
            else:
                slope += form[j] * end
        return constant + (min(slope * end for end in box.size) >> self.e)


@dataclass(frozen=True)
class IntegerBox:
    """A Box in integers."""

    fixed: list[Interval]
    growing: list[tuple[int | None, int | None]]
    size: Interval


@dataclass(frozen=True)
class Box:
    """Intervals of unknowns; for hardtanh and boxes without 0 the limits of theta_j over |v|, and the range of |v|."""

    fixed: list[tuple[Fraction, Fraction]]
    growing: list[tuple[Fraction | None, Fraction | None]]
    size: tuple[Fraction, Fraction]

    def all(self) -> list[Fraction]:
        return [v for pair in (*self.fixed, *self.growing, self.size) for v in pair if v is not None]

    def integers(self, e: int) -> IntegerBox:
        def pair(ends: tuple[Fraction, Fraction]) -> Interval:
            return integer(ends[0], e), integer(ends[1], e)

        def limit(v: Fraction | None) -> int | None:
            return None if v is None else integer(v, e)

        return IntegerBox([pair(p) for p in self.fixed], [(limit(a), limit(b)) for a, b in self.growing],
                          pair(self.size))  # fmt: skip


_ZERO = (Fraction(0), Fraction(0))


def _reached(low: Fraction | None, high: Fraction | None, wide: Fraction) -> tuple[Fraction, Fraction]:
    """The part of an interval within the reach; of one that lies beyond it, its first part."""
    if low is not None and low > wide:
        return low, low + wide if high is None else high
    if high is not None and high < -wide:
        return high - wide if low is None else low, high
    return -wide if low is None else max(low, -wide), wide if high is None else min(high, wide)


def _times(most: Fraction | None, limit: Fraction | None) -> Fraction | None:
    """most * limit, where None is infinite and 0 times it is 0."""
    if limit == 0 or most == 0:
        return Fraction(0)
    return None if limit is None or most is None else most * limit
