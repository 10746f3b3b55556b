"""Inputs at which an embedded network is good for the model around it: where a solver's first solutions come from.

As far as the objective of the model is a linear function of the network's inputs and outputs, c x + d f(x), it is
minimised over the box of inputs by projected gradient steps from many random inputs at once. Constraints of the model
are left to the solver, which gets several different inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnspec.embedding.block import Block
from nnspec.problem.network import Network

STARTS = 128
STEPS = 60
FIRST_STEP = 0.2
"""Length of the first step in units of the inputs' ranges; steps shrink to nothing."""

KEPT = 12
"""Proposals: a solver tries each in some milliseconds."""


def assist(model: Any, library: str, name: str, network: Network, block: Block, variables: Sequence[Any],
           given: Sequence[Any]) -> None:  # fmt: skip
    """Add a primal heuristic for the network to a PySCIPOpt model; other libraries have no place for one.

    `variables` are the model's for the columns of the block, `given` what the user gave for the inputs. The objective
    is read when the solve begins: users set it after the network is there.
    """
    if library != "scip":
        return
    from pyscipopt.scip import Variable

    from nnspec.backends.scip_heuristic import include

    lo, hi = block.program.lo[block.inputs], block.program.hi[block.inputs]

    def propose() -> list[np.ndarray]:
        sign = -1.0 if model.getObjectiveSense() == "maximize" else 1.0
        c = [v.getObj() if isinstance(v, Variable) else 0.0 for v in given]
        d = [variables[j].getObj() for j in block.outputs]
        return good_inputs(network, lo, hi, sign * np.array(c), sign * np.array(d))

    include(model, block.program, variables, block.inputs, name, propose)


def good_inputs(network: Network, lo: np.ndarray, hi: np.ndarray, c: np.ndarray, d: np.ndarray,
                seed: int = 0) -> list[np.ndarray]:  # fmt: skip
    """Inputs x in [lo, hi], raw units, with small c x + d f(x), the best first; none if d is 0 or the box infinite."""
    from nnspec.incumbents.graph import run

    if not (np.any(d) and np.all(np.isfinite(hi - lo))):
        return []
    s, o = network.input_scaling, network.output_scaling
    shift, factor = (0.0, 1.0) if s is None else (s.shift, s.factor)
    gain = d if o is None else d * o.factor
    values = {p.name: np.asarray(p.value, dtype=float)[None] for p in network.parameters}
    r = np.random.default_rng(seed)
    x = r.uniform(lo, hi, (STARTS, len(lo)))
    momentum = np.zeros_like(x)
    best, at = np.full(STARTS, np.inf), x.copy()
    for step in range(STEPS + 1):
        y, pullback = run(network, values, ((x - shift) / factor)[None])
        value = y[0] @ gain + x @ c
        better = value < best
        best[better], at[better] = value[better], x[better]
        g = pullback(np.broadcast_to(gain, y.shape), {})[0] / factor + c
        g = g * (hi - lo)
        norm = np.abs(g).max(axis=1, keepdims=True)
        momentum = 0.7 * momentum + g / np.where(norm > 0, norm, 1.0)
        x = np.clip(x - FIRST_STEP * (1 - step / STEPS) * momentum * (hi - lo), lo, hi)
    order = np.argsort(best, kind="stable")
    chosen: list[np.ndarray] = []
    for k in order.tolist():
        if all(np.abs(at[k] - other).max() > 1e-3 * (hi - lo).max() for other in chosen):
            chosen.append(at[k])
        if len(chosen) == KEPT:
            break
    return chosen
