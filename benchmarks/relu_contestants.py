"""One network minimised over [-1, 1]^d by one contestant, in this process; JSON lines for new incumbents and the end.

    python benchmarks/relu_contestants.py FOLDER CONTESTANT SECONDS [OPTION=VALUE ...]

All contestants but `solve` end in a model of PySCIPOpt with the same gap, the same limit and the same event handler.
PySCIPOpt-ML and OMLT are packages of others and are imported only here; OMLT's Pyomo model reaches SCIP as an .nl file,
which is faster than Pyomo's own translation and has no pitfalls with ranged rows.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

GAP = 1e-6  # nnspec's default, for everybody


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def arrays(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    found = np.load(folder / "net.npz")
    depth = len(found.files) // 2
    return [found[f"w{k}"] for k in range(depth)], [found[f"b{k}"] for k in range(depth)]


def optimise(model: Any, x: list[Any], seconds: float, options: dict[str, str]) -> None:
    """Solve a PySCIPOpt model, tell of every new incumbent, and of the end."""
    from pyscipopt import SCIP_EVENTTYPE, Eventhdlr

    class Incumbents(Eventhdlr):  # type: ignore[misc]
        def eventinit(self) -> None:
            self.model.catchEvent(SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexit(self) -> None:
            self.model.dropEvent(SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexec(self, event: Any) -> None:
            say(objective=self.model.getSolObjVal(self.model.getBestSol()))

    model.hideOutput()
    model.includeEventhdlr(Incumbents(), "incumbents", "prints them")
    model.setParam("limits/gap", GAP)
    model.setParam("limits/time", seconds)
    for name, value in options.items():
        kind = type(model.getParam(name))
        model.setParam(name, value in ("True", "1") if kind is bool else kind(value))
    model.optimize()
    found, bound = model.getNSols() > 0, model.getDualbound()
    say(status=model.getStatus(), objective=model.getObjVal() if found else None,
        bound=bound if abs(bound) < model.infinity() else None, nodes=model.getNTotalNodes(),
        x=[model.getVal(v) for v in x] if found else None)  # fmt: skip


def embed(folder: Path, template: str, seconds: float, options: dict[str, str]) -> None:
    """nnspec.embed in a model of PySCIPOpt, as a user would write it."""
    from pyscipopt import Model

    import nnspec

    ws, _ = arrays(folder)
    model = Model()
    x = [model.addVar(f"x{i}", lb=-1.0, ub=1.0) for i in range(ws[0].shape[1])]
    y, _ = nnspec.embed(model, folder / "net.onnx", x, encoding={} if template == "default" else {"relu": template})
    model.setObjective(y[0], "minimize")
    optimise(model, x, seconds, options)


def pyscipopt_ml(folder: Path, formulation: str, seconds: float, options: dict[str, str]) -> None:
    import pickle

    from pyscipopt import Model
    from pyscipopt_ml.add_predictor import add_predictor_constr

    net = pickle.loads((folder / "net.pickle").read_bytes())  # our own file
    model = Model()
    x = [model.addVar(f"x{i}", lb=-1.0, ub=1.0) for i in range(net.coefs_[0].shape[0])]
    y = model.addVar("y", lb=None, ub=None)
    add_predictor_constr(model, net, np.array(x), np.array([y]), unique_naming_prefix="net_", formulation=formulation)
    model.setObjective(y, "minimize")
    optimise(model, x, seconds, options)


def omlt(folder: Path, formulation: str, seconds: float, options: dict[str, str]) -> None:
    import pyomo.environ as pyo
    from omlt import OmltBlock
    from omlt.neuralnet import (
        FullSpaceNNFormulation,
        NetworkDefinition,
        ReluBigMFormulation,
        ReluComplementarityFormulation,
        ReluPartitionFormulation,
    )
    from omlt.neuralnet.layer import DenseLayer, InputLayer
    from pyscipopt import Model

    kinds = {"bigm": ReluBigMFormulation, "complementarity": ReluComplementarityFormulation,
             "partition": ReluPartitionFormulation, "full": FullSpaceNNFormulation}  # fmt: skip
    ws, bs = arrays(folder)
    n = ws[0].shape[1]
    definition = NetworkDefinition(scaled_input_bounds={i: (-1.0, 1.0) for i in range(n)})
    last: Any = InputLayer([n])
    definition.add_layer(last)
    for k, (w, b) in enumerate(zip(ws, bs)):
        kind = "relu" if k < len(ws) - 1 else "linear"
        layer = DenseLayer([w.shape[1]], [w.shape[0]], weights=w.T, biases=b, activation=kind)
        definition.add_layer(layer)
        definition.add_edge(last, layer)
        last = layer
    m = pyo.ConcreteModel()
    m.net = OmltBlock()
    m.net.build_formulation(kinds[formulation](definition))
    m.objective = pyo.Objective(expr=m.net.outputs[0])
    file = folder / f"omlt-{formulation}-{os.getpid()}.nl"
    m.write(str(file), format="nl", io_options={"symbolic_solver_labels": True})
    model = Model()
    model.readProblem(str(file))
    named = {v.name: v for v in model.getVars()}
    x = [named[str(m.net.inputs[i])] for i in range(n)]
    for suffix in ("", ".row", ".col"):
        file.with_suffix(suffix or ".nl").unlink(missing_ok=True)
    optimise(model, x, seconds, options)


def solve(folder: Path, choice: str, seconds: float, options: dict[str, str]) -> None:
    """`nnspec solve` from the command line, in place of this process; choice is TEMPLATE or BACKEND/TEMPLATE."""
    backend, _, template = choice.rpartition("/")
    command = [str(Path(sys.executable).parent / "nnspec"), "solve", str(folder / "net.nns"), "--json-stream",
               "--time-limit", str(seconds), "--out", str(folder / f"out-{os.getpid()}")]  # fmt: skip
    command += [] if template == "default" else ["--encoding", f"relu={template}"]
    command += ["--backend", backend] if backend else []
    sys.stdout.flush()
    os.execv(command[0], command)


CONTESTANTS = {"solve": solve, "embed": embed, "pyscipopt-ml": pyscipopt_ml, "omlt": omlt}

if __name__ == "__main__":
    who, _, how = sys.argv[2].partition(":")
    CONTESTANTS[who](Path(sys.argv[1]), how, float(sys.argv[3]), dict(o.split("=", 1) for o in sys.argv[4:]))
