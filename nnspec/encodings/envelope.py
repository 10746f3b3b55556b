"""Piecewise-linear envelopes of smooth activations, with a certified error.

Between breakpoints p_0 < ... < p_K that include all inflection points f is convex or concave on each segment, so the
chord is off on one side only. With the tangent at any t in the segment, for convex f,
    0 <= chord - f <= chord - tangent,
an affine function, whose maximum is at an end of the segment: a valid error bound for every t, and the best one where
the tangent is parallel to the chord. Slack for float64 rounding is added. Breakpoints are placed
so that all segments have about the same error.

The envelope is h = sum_i lam_i f(p_i) + s with z = sum_i lam_i p_i, sum lam = 1, lam in a special ordered set of type
2 (Beale and Tomlin 1970), and -e_convex <= s <= e_concave: it *contains* the graph of f, so bounds on the program are
bounds on the problem; the incumbent is recomputed from the network and may differ by the error, which `Compiled.errors`
states.
`envelope` uses SOS2 rows, `envelope_binary` one binary a segment.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nnspec.encodings.context import Block, words
from nnspec.encodings.registry import encoding
from nnspec.program import Affine
from nnspec.program.functions import apply, erf

SEGMENTS = 12
"""Segments of an envelope: with twelve, tanh on [-3, 3] has an error of about 0.004."""

ROUNDING = 1e-13
"""Slack for float64 rounding in values, chords and tangents, relative to the size of the numbers."""

Function = Callable[[np.ndarray], np.ndarray]


def _phi(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return apply("sigmoid", z)


DERIVATIVES: dict[str, Function] = {
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "sigmoid": lambda z: _sigmoid(z) * _sigmoid(-z),
    "softplus": _sigmoid,
    "gelu": lambda z: 0.5 * (1 + erf(z / math.sqrt(2))) + z * _phi(z),
    "silu": lambda z: _sigmoid(z) * (1 + z * _sigmoid(-z)),
    "exp": np.exp,
}

INFLECTIONS: dict[str, tuple[float, ...]] = {
    "tanh": (0.0,), "sigmoid": (0.0,), "softplus": (), "exp": (),
    "gelu": (-math.sqrt(2.0), math.sqrt(2.0)), "silu": (-2.399357280515468, 2.399357280515468),
}  # fmt: skip

CONVEX: dict[str, tuple[bool, ...]] = {  # on the pieces between inflection points, from -inf
    "tanh": (True, False), "sigmoid": (True, False), "softplus": (True,), "exp": (True,),
    "gelu": (False, True, False), "silu": (False, True, False),
}  # fmt: skip


@dataclass(frozen=True)
class Envelope:
    """Breakpoints, the function's values there, and how far the function may lie below and above the chords."""

    points: np.ndarray
    values: np.ndarray
    below: float
    above: float

    @property
    def error(self) -> float:
        """The largest distance between the function and a point of its envelope at the same argument."""
        return self.below + self.above


def chord_errors(function: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bounds on |f - chord| over segments [a, b], on each of which f is convex or concave throughout."""
    df = DERIVATIVES[function]
    fa, fb = apply(function, a), apply(function, b)
    slope = np.divide(fb - fa, b - a, out=np.zeros_like(a), where=b > a)
    t = _parallel(df, slope, a, b)
    ft, dt = apply(function, t), df(t)
    gaps = np.maximum(np.abs(fa - ft - dt * (a - t)), np.abs(fb - ft - dt * (b - t)))
    return gaps + ROUNDING * (1 + np.abs(fa) + np.abs(fb) + np.abs(a) + np.abs(b))


def _parallel(df: Function, slope: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where the derivative, monotone on [a, b], equals the slope; any answer is valid, a good one is tight."""
    rising = df(b) >= df(a)
    lo, hi = a.copy(), b.copy()
    for _ in range(40):
        t = 0.5 * (lo + hi)
        right = (df(t) < slope) == rising
        lo, hi = np.where(right, t, lo), np.where(right, hi, t)
    return 0.5 * (lo + hi)


@lru_cache(maxsize=4096)
def envelope(function: str, lo: float, hi: float, segments: int = SEGMENTS) -> Envelope:
    """The envelope of a function on [lo, hi] with `segments` segments of about equal error (more if it has more
    inflection points)."""
    cuts = np.array([lo, *(p for p in INFLECTIONS[function] if lo < p < hi), hi])
    points = _placed(function, cuts, segments)
    a, b = points[:-1], points[1:]
    convex = np.array(CONVEX[function])[np.searchsorted(INFLECTIONS[function], 0.5 * (a + b))]
    errors = chord_errors(function, a, b)
    slack = ROUNDING * (1 + float(np.abs(points).max()))  # an inflection point is known up to rounding only
    below, above = (float(errors[side].max(initial=0.0)) + slack for side in (convex, ~convex))
    return Envelope(points, apply(function, points), below, above)


def _placed(function: str, cuts: np.ndarray, segments: int) -> np.ndarray:
    """Breakpoints, all cuts among them. The error of a short segment of length w is |f''| w^2 / 8, so segments have
    equal errors where the integral of sqrt |f''| over each is the same (de Boor 2001, chapter XII)."""
    grid = np.unique(np.concatenate([np.linspace(a, b, 200) for a, b in itertools.pairwise(cuts)]))
    curvature = np.abs(np.diff(DERIVATIVES[function](grid)))  # |f''| times the step
    density = np.sqrt(curvature * np.diff(grid)) + 1e-9 * np.diff(grid)
    total = np.concatenate([[0.0], np.cumsum(density)])
    at = np.interp(cuts, grid, total)
    shares = np.diff(at) / at[-1] * segments
    counts = np.maximum(np.floor(shares).astype(int), 1)
    while counts.sum() < segments:
        counts[np.argmax(shares / counts)] += 1
    parts = [np.interp(np.linspace(s, t, n + 1), total, grid)[:-1] for s, t, n in zip(at, at[1:], counts)]
    for part, cut in zip(parts, cuts):
        part[0] = cut
    return np.unique(np.concatenate([*parts, cuts[-1:]]))


SMOOTH = ("tanh", "sigmoid", "softplus", "gelu", "silu")


@encoding(SMOOTH, "envelope", needs={"bounds", "sos2"})
def smooth_envelope(block: Block) -> Affine:
    """h = sum lam_i f(p_i) + s, z = sum lam_i p_i, sum lam = 1, SOS2(lam), s within the certified error."""
    return _encode(block, binary=False)


@encoding(SMOOTH, "envelope_binary", needs={"bounds"})
def smooth_envelope_binary(block: Block) -> Affine:
    """The same with one binary y_k a segment: sum y = 1, lam_i <= y_(i-1) + y_i."""
    return _encode(block, binary=True)


def _encode(block: Block, binary: bool) -> Affine:
    kind, program = block.activation.kind, block.program
    pieces = [envelope(kind, float(a), float(b)) for a, b in zip(block.lo, block.hi)]
    z = block.z
    below, above = (np.array([getattr(e, side) for e in pieces]) for side in ("below", "above"))
    image_lo = np.array([e.values.min() for e in pieces]) - below
    image_hi = np.array([e.values.max() for e in pieces]) + above
    h = block.variables("", image_lo, image_hi, complete=lambda x: apply(kind, z.value(x)))
    width = max(len(e.points) for e in pieces)
    points = np.array([np.pad(e.points, (0, width - len(e.points)), mode="edge") for e in pieces])
    values = np.array([np.pad(e.values, (0, width - len(e.points)), mode="edge") for e in pieces])
    used = np.array([np.arange(width) < len(e.points) for e in pieces], dtype=float)
    rows = np.arange(len(pieces))

    def segment(x: np.ndarray) -> np.ndarray:
        at = z.value(x)
        k = [int(np.searchsorted(e.points, v, side="right")) - 1 for e, v in zip(pieces, at)]
        return np.minimum(k, [len(e.points) - 2 for e in pieces]).clip(0)

    def weights(x: np.ndarray) -> np.ndarray:
        k, at = segment(x), z.value(x)
        right = np.minimum(k + 1, width - 1)
        a, b = points[rows, k], points[rows, right]
        share = np.clip(np.where(b > a, (at - a) / np.where(b > a, b - a, 1.0), 0.0), 0.0, 1.0)
        result = np.zeros((len(pieces), width))
        result[rows, k] += 1 - share
        result[rows, right] += share
        return result

    axes = (block.words, words((width,)))
    lam = program.add_variables(f"{block.path}.weight", (len(pieces), width), 0.0, used, labels=axes, span=block.span,
                                complete=weights)  # fmt: skip
    program.add_linear(lam.sum(axis=1), 1.0, 1.0, f"{block.path} weights", block.span, block.words)
    program.add_linear((lam * points).sum(axis=1) - z, 0.0, 0.0, f"{block.path} argument", block.span, block.words)
    program.add_linear((lam * values).sum(axis=1) - h, -above, below, f"{block.path} value", block.span, block.words)
    if binary and width > 1:
        y = program.add_variables(
            f"{block.path}.segment", (len(pieces), width - 1), kind="binary", hi=used[:, 1:],
            labels=(block.words, words((width - 1,))), span=block.span,
            complete=lambda x: np.arange(width - 1) == segment(x)[:, None],
        )  # fmt: skip
        program.add_linear(y.sum(axis=1), 1.0, 1.0, f"{block.path} one segment", block.span, block.words)
        program.add_linear(lam[:, 0] - y[:, 0], -np.inf, 0.0, f"{block.path} first segment", block.span)
        program.add_linear(lam[:, -1] - y[:, -1], -np.inf, 0.0, f"{block.path} last segment", block.span)
        if width > 2:
            program.add_linear(
                lam[:, 1:-1] - y[:, 1:] - y[:, :-1], -np.inf, 0.0, f"{block.path} neighbours", block.span
            )
    elif width > 2:
        program.add_sos2(lam, f"{block.path} neighbours", block.span)
    block.context.note_error(block.path, max(e.error for e in pieces))
    return h
