"""Problem -> smaller equal problems, each with the way back."""

from nnspec.reductions.chain import CHAIN, Chain, Step, reduce
from nnspec.reductions.interface import Case, Reduced, Reduction

__all__ = ["CHAIN", "Case", "Chain", "Reduced", "Reduction", "Step", "reduce"]
