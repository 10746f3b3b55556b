"""Trained networks inside optimisation models of Pyomo, PySCIPOpt and gurobipy."""

from nnspec.embedding.part import Part, embed

__all__ = ["Part", "embed"]
