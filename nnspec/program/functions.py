"""The univariate functions a Program knows: their values and their images of intervals, in numpy.

Definitions follow `nnspec.problem`: sigmoid(x) = 1/(1+exp(-x)), softplus(x) = log(1+exp(x)), silu(x) = x sigmoid(x),
gelu(x) = x Phi(x) with the normal distribution function Phi (the exact form, not the tanh approximation).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), exact to the last bits everywhere."""
    from scipy.special import expit  # slow to import, and few programs need it

    return np.asarray(expit(x))


def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    from scipy.special import erf

    return np.asarray(erf(x))


MONOTONE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {
    # increasing functions with their domains
    "exp": (np.exp, -math.inf, math.inf),
    "log": (np.log, 0.0, math.inf),
    "sqrt": (np.sqrt, 0.0, math.inf),
    "tanh": (np.tanh, -math.inf, math.inf),
    "sigmoid": (sigmoid, -math.inf, math.inf),
    "softplus": (lambda x: np.logaddexp(0.0, x), -math.inf, math.inf),
}

OTHERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: 0.5 * x * (1.0 + erf(x / math.sqrt(2.0))),
}

FUNCTIONS = (*MONOTONE, *OTHERS, "power")

# x and value of the only minimum of the functions that fall to it and rise from it
_SILU_MINIMUM = (-1.2784645427610738, -0.2784645427610738)
_GELU_MINIMUM = (-0.7517915935, -0.1699712074)


def apply(function: str, x: np.ndarray, exponent: float | None = None) -> np.ndarray:
    """function(x), elementwise; nan outside the domain."""
    with np.errstate(all="ignore"):
        if function == "power":
            assert exponent is not None
            return np.power(np.asarray(x, dtype=float), exponent)
        if function in MONOTONE:
            return MONOTONE[function][0](x)
        return OTHERS[function](x)


def domain(function: str, exponent: float | None = None) -> tuple[float, float]:
    """Where the function is defined."""
    if function in MONOTONE:
        return MONOTONE[function][1:]
    if function == "power" and exponent is not None and exponent != round(exponent):
        return 0.0, math.inf
    return -math.inf, math.inf


def image(function: str, lo: np.ndarray, hi: np.ndarray, exponent: float | None = None
          ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """An interval that contains function([lo, hi]), elementwise, rounded outwards by a few units in the last place."""
    lo, hi = np.atleast_1d(np.asarray(lo, dtype=float)), np.atleast_1d(np.asarray(hi, dtype=float))
    low, high = domain(function, exponent)
    lo, hi = np.maximum(lo, low), np.minimum(hi, high)
    ends = apply(function, lo, exponent), apply(function, hi, exponent)
    down, up = np.minimum(*ends), np.maximum(*ends)
    if function in ("sin", "cos"):
        shift = math.pi / 2 if function == "sin" else 0.0  # cos(t) with t = x - shift has its maxima at 2 pi k
        with np.errstate(invalid="ignore"):
            top = np.floor((hi - shift) / (2 * math.pi)) >= np.ceil((lo - shift) / (2 * math.pi))
            bottom = np.floor((hi - shift - math.pi) / (2 * math.pi)) >= np.ceil((lo - shift - math.pi) / (2 * math.pi))
        wide = ~np.isfinite(hi - lo)
        up, down = np.where(top | wide, 1.0, up), np.where(bottom | wide, -1.0, down)
    elif function in ("abs", "silu", "gelu") or (function == "power" and exponent and exponent > 0
                                                 and exponent % 2 == 0):  # fmt: skip
        at, value = {"silu": _SILU_MINIMUM, "gelu": _GELU_MINIMUM}.get(function, (0.0, 0.0))
        down = np.where((lo <= at) & (hi >= at), np.minimum(down, value), down)
        if function in ("silu", "gelu"):  # both tend to 0 from below at -inf: 0 * inf is not a number
            left = np.isneginf(lo)
            up = np.where(left, np.maximum(np.where(np.isneginf(hi), 0.0, ends[1]), 0.0), up)
            down = np.where(left, np.where(hi >= at, value, np.where(np.isneginf(hi), 0.0, ends[1])), down)
    elif function == "power" and exponent is not None and exponent < 0:
        pole = (lo <= 0) & (hi >= 0)
        even = exponent % 2 == 0 or low == 0.0
        down = np.where(pole, np.where(even, np.where(np.isnan(down), 0.0, down), -np.inf), down)
        up = np.where(pole, np.inf, up)
    slack = 4 * np.finfo(float).eps
    with np.errstate(invalid="ignore"):
        down = np.where(np.isfinite(down), down - slack * np.abs(down) - 1e-15, down)
        up = np.where(np.isfinite(up), up + slack * np.abs(up) + 1e-15, up)
    if function in ("exp", "sigmoid", "softplus", "sqrt", "abs"):
        down = np.maximum(down, 0.0)
    if function in ("tanh", "sin", "cos"):
        down, up = np.maximum(down, -1.0), np.minimum(up, 1.0)
    if function == "sigmoid":
        up = np.minimum(up, 1.0)
    return down, up
