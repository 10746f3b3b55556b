"""A primal heuristic for SCIP models that hold networks: a forward pass at the LP's inputs, then the LP on its piece.

At a node's LP solution the inputs of a network are taken and everything behind them computed: a forward pass says on
which piece of its activation each neuron is. With the pieces fixed (binaries to their values, the member of a SOS1 pair
that is zero to zero) the network is linear, and one LP, in SCIP's probing mode, finds the best solution on this piece,
whatever else the model holds. From its inputs the search goes on, a little beyond the border, until nothing improves.
SCIP refuses LPs that do not beat the incumbent, so walks do not lead downhill from anywhere: the first call also takes
the inputs that `propose` gives. Calls become rarer: at the 1st, 2nd, 4th, 8th ... node.
SCIP's own heuristics round binaries one by one and so rarely hit a pattern that any input has.

SCIP's copies for sub-MIPs do not have the heuristic. A failure ends in no solution, never in a wrong one: `trySol`
checks every row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnspec.program import Program
from nnspec.program.rows import SosRows

WALK = 15
"""Pieces that are visited in one call."""

BEYOND = (0.05, 0.3, 1.0)
"""How far the walk steps beyond the piece's best point, in units of the way from its start to there."""


Propose = Callable[[], Sequence[np.ndarray]]


def include(model: Any, program: Program, variables: Sequence[Any], inputs: np.ndarray, name: str,
            propose: Propose = list) -> None:  # fmt: skip
    """Add the heuristic to a PySCIPOpt model that holds `program`, whose columns are `variables` (original ones).

    `inputs` are the columns from which the program's recipes compute the network; `propose` gives values for them from
    which to begin, and is called when SCIP has solved its first LP. Nothing is added for a program without pieces.
    """
    from pyscipopt import SCIP_HEURTIMING, SCIP_RESULT, Heur

    binaries = np.flatnonzero(program.discrete & ~np.isin(np.arange(program.columns), inputs))
    pairs = [rows.columns for rows in program.rows if isinstance(rows, SosRows) and rows.order == 1]
    members = np.unique(np.concatenate([p.reshape(-1) for p in pairs])) if pairs else np.zeros(0, dtype=int)
    if not len(binaries) + len(members):
        return
    lo, hi = program.lo[inputs], program.hi[inputs]

    class Pieces(Heur):  # type: ignore[misc]
        calls, due, failures = 0, 1, 0

        def heurinitsol(self) -> None:
            self.calls, self.due = 0, 1

        def heurexec(self, heurtiming: Any, nodeinfeasible: bool) -> dict[str, Any]:
            self.calls += 1
            if self.calls < self.due or self.failures > 2:
                return {"result": SCIP_RESULT.DIDNOTRUN}
            self.due = 2 * self.calls
            try:
                starts = [np.array([self.model.getSolVal(None, variables[j]) for j in inputs])]
                if self.calls == 1:
                    starts = [*propose(), *starts]
                found = any([self.walk(x) for x in starts])
            except Exception:  # an exception in a plugin would end the solve, and nothing depends on this one
                self.failures += 1
                return {"result": SCIP_RESULT.DIDNOTRUN}
            return {"result": SCIP_RESULT.FOUNDSOL if found else SCIP_RESULT.DIDNOTFIND}

        def walk(self, x: np.ndarray) -> bool:
            """Walk from inputs x; whether a solution was stored."""
            seen: set[bytes] = set()
            best, found = np.inf, False
            moves: list[np.ndarray] = [x]
            for _ in range(WALK):
                piece = None
                while moves and piece is None:
                    x = np.clip(moves.pop(0), lo, hi)
                    full = program.unknown_point()
                    full[inputs] = x
                    full = program.complete(full)
                    key = np.concatenate([full[binaries] > 0.5, full[members] > 0]).tobytes()
                    piece = None if key in seen else full
                    seen.add(key)
                if piece is None:
                    break
                value, end, stored = self.solve(piece)
                found |= stored
                if end is not None and value < best - 1e-9 * (1 + abs(value)):
                    best = value
                    moves = [end + step * (end - x) for step in BEYOND]
            return found

        def solve(self, piece: np.ndarray) -> tuple[float, np.ndarray | None, bool]:
            """The best point on a linear piece: its value in SCIP's minimising sense, its inputs, if it was stored."""
            scip = self.model
            scip.startProbing()
            try:
                scip.newProbingNode()
                for j in binaries.tolist():
                    fix(scip, variables[j], round(float(piece[j])))
                for j in members[piece[members] <= 0].tolist():
                    fix(scip, variables[j], 0.0)
                cutoff, _ = scip.propagateProbing(-1)
                if cutoff or scip.constructLP():
                    return np.inf, None, False
                failed, cutoff = scip.solveProbingLP()
                if failed or cutoff:
                    return np.inf, None, False
                end = np.array([scip.getSolVal(None, variables[j]) for j in inputs])
                solution = scip.createSol(self, initlp=True)
                value = float(scip.getLPObjVal())
                return value, end, bool(scip.trySol(solution, printreason=False))
            finally:
                scip.endProbing()

    def fix(scip: Any, variable: Any, value: float) -> None:
        v = scip.getTransformedVar(variable)
        if v.getLbLocal() < value:
            scip.chgVarLbProbing(v, value)
        if v.getUbLocal() > value:
            scip.chgVarUbProbing(v, value)

    model.includeHeur(Pieces(), f"pieces of {name}", "forward pass at the LP solution, then its linear piece", "N",
                      priority=50000, freq=1, timingmask=SCIP_HEURTIMING.AFTERLPNODE)  # fmt: skip
