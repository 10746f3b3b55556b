"""What is asked: networks, data, expressions, losses, budgets, symmetry claims; and how a point is judged."""

from nnspec.problem.data import DataSet
from nnspec.problem.network import Activation, Layer, Network, Parameter, Scaling
from nnspec.problem.problem import (
    BreakSymmetry,
    Constraint,
    Group,
    Objective,
    Point,
    Problem,
    SymmetryClaim,
    Tie,
    Variable,
)

__all__ = [
    "Activation", "BreakSymmetry", "Constraint", "DataSet", "Group", "Layer", "Network", "Objective", "Parameter",
    "Point", "Problem", "Scaling", "SymmetryClaim", "Tie", "Variable",
]  # fmt: skip
