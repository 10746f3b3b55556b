"""The solver-neutral program: arrays of affine and quadratic expressions, blocks of variables and rows."""

from nnspec.program.affine import Affine, Quadratic, concatenate, product, square, stack
from nnspec.program.program import Program

__all__ = ["Affine", "Program", "Quadratic", "concatenate", "product", "square", "stack"]
