"""nnspec info: what a spec asks for, in the user's names, and how large its model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from nnspec.cli import options
from nnspec.errors import UnsupportedError

if TYPE_CHECKING:
    from nnspec.problem.network import Network, Parameter
    from nnspec.problem.problem import Problem
    from nnspec.settings import Settings


SHOWN_CONSTRAINTS = 10


@click.command("info")
@click.argument("spec", metavar="SPEC")
@options.parameters
@options.solving
@options.json_flag
def command(spec: str, definitions: tuple[str, ...], params: str | None, as_json: bool, **given: Any) -> None:
    """Show the networks, data, variables and objective of SPEC, and the size and class of its model."""
    settings = options.settings(spec, given)
    problem = options.load(spec, definitions, params)
    found = describe(problem) | {"model": model(problem, settings)}
    if as_json:
        options.echo_json(found)
    else:
        show(found)


def describe(problem: Problem) -> dict[str, Any]:
    """What is asked, as plain values."""
    from nnspec.problem.degree import degree

    objective = problem.objective
    return {
        "spec": problem.name,
        "parameters": {k: v if isinstance(v, int | float | str) else str(v) for k, v in problem.arguments.items()},
        "data": [
            {"name": d.name, "samples": d.samples, "inputs": list(d.x_names) or d.x.shape[1],
             "targets": list(d.y_names) or d.y.shape[1], "classes": list(d.classes)}
            for d in problem.data.values()
        ],
        "networks": [_network(n) for n in problem.networks.values()],
        "variables": [
            {"name": v.name, "kind": v.kind, "lo": _finite(v.lo), "hi": _finite(v.hi)}
            for v in problem.variables.values()
        ],
        "objective": {"sense": objective.sense, "label": objective.label,
                      "text": objective.expression.span.text if objective.expression is not None
                      and objective.expression.span is not None else "",
                      "degree": str(degree(problem, objective.expression)) if objective.expression is not None else ""},
        "constraints": [{"label": c.label, "text": c.span.text if c.span else "",
                         "degree": str(degree(problem, c.expression))} for c in problem.constraints],
    }  # fmt: skip


def _network(network: Network) -> dict[str, Any]:
    layers = []
    for layer in network.layers:
        layers.append({
            "name": layer.name, "kind": layer.kind, "shape": list(layer.shape), "activation": str(layer.activation),
            "weights": _tensor(layer.weights), "biases": _tensor(layer.bias), "l0": layer.l0,
        })  # fmt: skip
    free = sum(p.size for p in network.parameters if p.free)
    return {"name": network.name, "layers": layers, "l0": network.l0, "to_train": free,
            "fixed": sum(p.size for p in network.parameters) - free}  # fmt: skip


def _tensor(p: Parameter | None) -> str | None:
    """A tensor's count and domain in the language's words."""
    if p is None:
        return None
    if not p.free:
        return f"{p.size} fixed"
    if p.kind == "set":
        return f"{p.size} in {{{', '.join(f'{v:g}' for v in p.values)}}}"
    lo, hi = float(np.min(p.lo)), float(np.max(p.hi))
    if not np.isfinite([lo, hi]).any():
        return f"{p.size} unbounded"
    return f"{p.size} in {f'int({lo:g}..{hi:g})' if p.kind == 'int' else f'{lo:g}..{hi:g}'}"


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def model(problem: Problem, settings: Settings) -> dict[str, Any]:
    """Size and class of the program, before and after reductions, and the engine that would be used, with reasons."""
    from nnspec.engines.choose import choose
    from nnspec.reductions import reduce

    found: dict[str, Any] = {"as written": _program(problem, settings)}
    try:
        choice = choose(problem, settings.engine, settings.backend, settings.encoding)
    except UnsupportedError as error:
        return found | {"engine": None, "reasons": [error.diagnostics[0].message], "reductions": []}
    chain = reduce(problem)
    if any(step.applied for step in chain.steps):
        count = len(chain.cases)
        found["reduced" if count == 1 else f"reduced, the first of {count} cases"] = _program(
            chain.cases[0].problem, settings
        )
    steps = [str(step) for step in chain.steps]
    return found | {"engine": choice.engine.name, "reasons": list(choice.reasons), "reductions": steps}


def _program(problem: Problem, settings: Settings) -> dict[str, Any]:
    from nnspec.encodings.compile import compile_problem
    from nnspec.program.classify import classify

    try:
        program = compile_problem(problem, settings.encoding, backend=settings.backend or "").program
    except UnsupportedError as error:
        return {"class": None, "why": error.diagnostics[0].message}
    return {"class": str(classify(program)), "variables": program.columns, "discrete": int(program.discrete.sum()),
            "rows": program.row_kinds()}  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """The same for people."""
    click.echo(f"spec {found['spec']}")
    for name, value in found["parameters"].items():
        click.echo(f"  param {name} = {value}")
    for d in found["data"]:
        click.echo(f"data {d['name']}: {d['samples']} samples, {_names(d['inputs'])} -> {_names(d['targets'])}"
                   + (f" (classes {', '.join(d['classes'])})" if d["classes"] else ""))  # fmt: skip
    for n in found["networks"]:
        counts = f"{n['to_train']} weights and biases to train" + (f", {n['fixed']} fixed" if n["fixed"] else "")
        click.echo(f"net {n['name']}: {counts}" + (f", l0 <= {n['l0']}" if n["l0"] is not None else ""))
        for layer in n["layers"]:
            shape = "x".join(map(str, layer["shape"]))
            parts = [layer["kind"], shape, "" if layer["activation"] == "linear" else layer["activation"]]
            tensors = [f"{kind} {layer[kind]}" for kind in ("weights", "biases") if layer[kind]]
            budget = [f"l0 <= {layer['l0']}"] if layer["l0"] is not None else []
            details = "; ".join([*tensors, *budget])
            click.echo(f"  {layer['name']}: {' '.join(p for p in parts if p)}{f' ({details})' if details else ''}")
    if found["variables"]:
        kinds = [v["kind"] for v in found["variables"]]
        click.echo("variables: " + ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds)))
    click.echo(f"{found['objective']['sense']} {found['objective']['text']}".rstrip())
    if found["objective"]["degree"]:
        click.echo(f"  {found['objective']['degree']}")
    if found["constraints"]:
        click.echo(f"constraints: {len(found['constraints'])}")
        bent = [c for c in found["constraints"] if c["degree"] != "linear"]
        for c in bent[:SHOWN_CONSTRAINTS]:
            click.echo(f"  {c['label'] or c['text']}: {c['degree']}")
        if len(bent) > SHOWN_CONSTRAINTS:
            click.echo(f"  and {len(bent) - SHOWN_CONSTRAINTS} more that are not linear")
    for stage, program in found["model"].items():
        if isinstance(program, dict):
            click.echo(f"model {stage}: {_size(program)}")
    for line in found["model"]["reductions"]:
        click.echo(f"reduction {line}")
    for line in found["model"]["reasons"]:
        click.echo(line)


def _names(names: list[str] | int) -> str:
    return f"{names} columns" if isinstance(names, int) else ", ".join(names)


def _size(program: dict[str, Any]) -> str:
    if program["class"] is None:
        return f"not encoded ({program['why']})"
    rows = ", ".join(f"{n} {kind}" for kind, n in program["rows"].items()) or "none"
    return f"{program['class']}; {program['variables']} variables, {program['discrete']} of them discrete; rows: {rows}"
