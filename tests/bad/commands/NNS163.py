import nnspec
from nnspec.engines.interface import Limits
from nnspec.engines.solver import SolverEngine

SolverEngine("scip", options={"limits/tme": 1}).solve(nnspec.load("xor.nns"), Limits())
