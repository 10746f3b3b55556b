"""Cutting planes of the hulls of ReLU neurons, separated by SCIP at its nodes (see nnspec.program.hull)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnspec.program import Program
from nnspec.program.hull import violated_cuts

DEPTH = 6
"""Nodes down to this depth: on trained 10-30-30-1 networks cuts further down saved few nodes and cost more time."""

VIOLATION = 0.01
"""Cuts that are violated by less, relative to 1 + h, move the bound too little."""


def include(model: Any, program: Program, variables: Sequence[Any]) -> None:
    """Add the separator to a PySCIPOpt model of a program with `Program.neurons`."""
    from pyscipopt import SCIP_RESULT, Sepa

    columns = np.unique(np.concatenate([np.concatenate([n.z.columns, n.h, n.active]) for n in program.neurons]))
    lo, hi = program.lo.copy(), program.hi.copy()

    class Hulls(Sepa):  # type: ignore[misc]
        failed = False

        def sepaexeclp(self) -> dict[str, Any]:
            if self.failed or self.model.getDepth() > DEPTH:
                return {"result": SCIP_RESULT.DIDNOTRUN}
            try:
                found = self.separate()
            except Exception:  # cuts are a help, and an exception in a plugin would end the solve
                self.failed = True
                return {"result": SCIP_RESULT.DIDNOTRUN}
            return {"result": SCIP_RESULT.SEPARATED if found else SCIP_RESULT.DIDNOTFIND}

        def separate(self) -> int:
            scip, x = self.model, np.zeros(program.columns)
            x[columns] = [scip.getSolVal(None, variables[j]) for j in columns.tolist()]
            count = 0
            for neurons in program.neurons:
                cuts = violated_cuts(neurons, lo, hi, x, VIOLATION)
                for k in range(cuts.size):
                    row = scip.createEmptyRowSepa(self, f"hull of {neurons.name}", None, -float(cuts.constant[k]),
                                                  local=False)  # fmt: skip
                    scip.cacheRowExtensions(row)
                    for t in range(cuts.indptr[k], cuts.indptr[k + 1]):
                        v = scip.getTransformedVar(variables[int(cuts.columns[t])])
                        scip.addVarToRow(row, v, float(cuts.values[t]))
                    scip.flushRowExtensions(row)
                    scip.addCut(row)
                    scip.releaseRow(row)
                    count += 1
            return count

    model.includeSepa(Hulls(), "nnspec-hulls", "convex hulls of ReLU neurons", priority=100000, freq=1,
                      maxbounddist=1.0, delay=False)  # fmt: skip
