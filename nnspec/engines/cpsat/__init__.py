"""Problems with finitely many networks as integer programs in exact arithmetic, on CP-SAT (--backend cpsat).

Weights from finite sets, data that are fractions with small denominators, piecewise-linear activations and losses that
are polynomials of pieces: then every quantity is an integer multiple of some 1/s. Nothing is rounded and no big-M or
margin is needed: z >= 0 and z <= -1/s are the two sides of a step. What is not of this kind is refused with a reason.
"""

from nnspec.engines.cpsat.engine import CpsatEngine

__all__ = ["CpsatEngine"]
