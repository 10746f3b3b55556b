"""The engine that hands a problem to a mathematical-programming solver."""

from nnspec.engines.solver.engine import SolverEngine

__all__ = ["SolverEngine"]
