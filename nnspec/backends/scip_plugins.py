"""Plugins for SCIP that know more about a problem than its rows say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnspec.backends.interface import NodeBound

AFTER_NODES = 100
"""A bound is asked for from here on: easy problems are solved without loading, or compiling, what it needs."""
LEAST_CUT = 1e-6
"""Ranges that shrink by less than this are left alone."""


def include_node_bound(model: Any, variables: list[Any], bound: NodeBound) -> None:
    """Let a bound for boxes of some variables raise the bounds of nodes, prune them and shrink the variables' ranges.

    `variables` are the model's in the order of the program's columns.
    """
    from pyscipopt import SCIP_PRESOLTIMING, SCIP_PROPTIMING, SCIP_RESULT, Prop

    concerned = [variables[c] for c in bound.columns.tolist()]
    for v in concerned:  # their ranges in a node stay readable and can be changed
        model.markDoNotAggrVar(v)
        model.markDoNotMultaggrVar(v)
    model.setParam("misc/scaleobj", False)  # so that offsets and the sense are all that objectives differ by
    sign = -1.0 if model.getObjectiveSense() == "maximize" else 1.0

    class Propagator(Prop):  # type: ignore[misc]
        def propinitsol(self) -> None:
            self.inside = [self.model.getTransformedVar(v) for v in concerned]
            self.last: tuple[int, bytes] = (-1, b"")

        def propexec(self, proptiming: int) -> dict[str, Any]:
            m = self.model
            if m.getNTotalNodes() < AFTER_NODES or m.inProbing():
                return {"result": SCIP_RESULT.DIDNOTRUN}
            lower = np.array([v.getLbLocal() for v in self.inside])
            upper = np.array([v.getUbLocal() for v in self.inside])
            node = m.getCurrentNode()
            seen = (node.getNumber(), lower.tobytes() + upper.tobytes())
            if seen == self.last or np.any(upper < lower):
                return {"result": SCIP_RESULT.DIDNOTFIND}
            infinity = m.infinity()
            lower, upper = np.where(lower <= -infinity, -math.inf, lower), np.where(upper >= infinity, math.inf, upper)
            # objective = sign * (SCIP's inner objective + inner offset) + outer offset
            inner, outer = m.getObjoffset(original=False), m.getObjoffset(original=True)
            cutoff = m.getCutoffbound()
            known = math.inf if cutoff >= infinity else cutoff
            value, a, b = bound.evaluate(lower, upper, sign * (known + inner) + outer)
            value = sign * (value - outer) - inner
            if value >= known:
                return {"result": SCIP_RESULT.CUTOFF}
            if value > -infinity:
                m.updateNodeLowerbound(node, value)
            changed = False
            for v, old_lo, old_hi, new_lo, new_hi in zip(self.inside, lower, upper, a, b):
                for tighten, new, gain in ((m.tightenVarLb, new_lo, new_lo - old_lo),
                                           (m.tightenVarUb, new_hi, old_hi - new_hi)):  # fmt: skip
                    if gain > LEAST_CUT:
                        infeasible, tightened = tighten(v, float(new))
                        if infeasible:
                            return {"result": SCIP_RESULT.CUTOFF}
                        changed = changed or tightened
            self.last = (node.getNumber(), a.tobytes() + b.tobytes())
            return {"result": SCIP_RESULT.REDUCEDDOM if changed else SCIP_RESULT.DIDNOTFIND}

    model.includeProp(
        Propagator(), "nnspec-node-bound", "bounds a node by its box of weights", presolpriority=0, presolmaxrounds=0,
        priority=1_000_000, freq=1, delay=False, proptiming=SCIP_PROPTIMING.BEFORELP,
        presoltiming=SCIP_PRESOLTIMING.FAST,
    )  # fmt: skip
