"""Numerical tolerances: every one has a name, this one home, and a reason."""

from __future__ import annotations

FEASIBILITY = 1e-6
"""Violation of a constraint that solvers regard as none (SCIP's and HiGHS' default); anything we accept from them
may be violated by that much, in the units of the row."""

INTEGRALITY = 1e-6
"""Distance of an integer variable from an integer that solvers regard as none."""

GAP = 1e-6
"""Default relative gap |incumbent - bound| / max(1e-9, |incumbent|) at which a solve counts as proven."""

GAP_ABSOLUTE = 1e-9
"""Absolute gap that counts as proven: losses that reach exactly zero have no relative gap."""

SIGN_MARGIN = 1e-4
"""sign(z) and step(z) switch at z >= 0. In a mathematical program "z < 0" has to be "z <= -SIGN_MARGIN": the margin is
a hundred times FEASIBILITY, so that after centring the gap the written file decides every sample as the model did."""

DECIDED = 1e-9
"""A neuron whose pre-activation cannot be on one side of its kink by more than this counts as decided: far below
FEASIBILITY, and it keeps rounding errors of bounds (-1e-17 for 0) from becoming binaries with tiny big-Ms."""

ERRORS_MARGIN = 1e-3
"""Default margin of `errors(f, D)`: a sample counts as right if its score leads by at least this much. It must be
positive, or the constant network 0 would be right everywhere by ties."""

STRICT_MARGIN = 1e-5
"""A strict inequality a < b (the negation of a >= b) is modelled as a <= b - STRICT_MARGIN unless both sides are
integers: ten times FEASIBILITY, so that a solver's slack does not turn it into equality."""

LOSS_MISMATCH = 1e-5
"""Relative difference between the solver's objective and the one recomputed from the written file above which a
warning is reported. Ten times FEASIBILITY: sums over samples add up small violations."""

SINGLE_MISMATCH = 1e-4
"""Relative difference between the objectives of the float64 and the float32 file above which a warning is reported:
single precision has 7 digits, and a loss adds up hundreds of terms that each lose one or two of them."""


def gap(incumbent: float | None, bound: float | None) -> float | None:
    """Relative gap |incumbent - bound| / max(1e-9, |incumbent|); None while either is missing or infinite."""
    if incumbent is None or bound is None or abs(incumbent) == float("inf") or abs(bound) == float("inf"):
        return None
    return abs(incumbent - bound) / max(1e-9, abs(incumbent))


def proven(incumbent: float | None, bound: float | None, relative: float = GAP) -> bool:
    """Whether incumbent and bound meet within the relative gap or GAP_ABSOLUTE."""
    if incumbent is None or bound is None:
        return False
    difference = abs(incumbent - bound)
    return difference <= GAP_ABSOLUTE or difference <= relative * max(1e-9, abs(incumbent))

CONVEXITY = 1e-9
"""Negative eigenvalue, relative to the largest, below which a quadratic form still counts as convex: rounding of sums
of squares leaves about 1e-15 of the largest eigenvalue, and a solver's own tests allow about this much."""
