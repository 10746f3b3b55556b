"""nnspec solve: the best network, the proof that there is no better one, and the files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from nnspec.cli import options
from nnspec.cli.main import EXIT_INFEASIBLE, EXIT_INTERNAL, EXIT_NOTHING, EXIT_SPEC, EXIT_STOPPED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnspec.cli.progress import Live, Quiet
    from nnspec.solution import Solution


@click.command("solve")
@click.argument("spec", metavar="SPEC")
@options.parameters
@options.solving
@click.option("--out", type=click.Path(), metavar="DIR", help="Folder for networks and solution.json (SPEC.out).")
@click.option("--force", is_flag=True, help="Overwrite files that nnspec did not write.")
@click.option("--certificate", type=click.Path(), metavar="FILE", help="Write the engine's proof, for nnspec verify.")
@click.option("--checkpoint", type=click.Path(), metavar="FILE", help="Save the state of the search; go on from it.")
@click.option("--explain", is_flag=True, help="Say which reductions and which engine are used, and why.")
@click.option("--dump", type=click.Choice(["tree", "problem", "reduced", "program"]), help="Print a stage, then stop.")
@options.json_flag
@click.option("--json-stream", "stream", is_flag=True, help="Print progress and result as JSON, one object a line.")
def command(spec: str, definitions: tuple[str, ...], params: str | None, out: str | None, force: bool, explain: bool,
            dump: str | None, as_json: bool, stream: bool, certificate: str | None, checkpoint: str | None,
            **given: Any) -> int:  # fmt: skip
    """Solve SPEC ('-' reads stdin) to proven optimality.

    Writes NETWORK.onnx, NETWORK.float32.onnx and solution.json to SPEC.out or --out. Ctrl-C ends with the best so far.
    """
    from pathlib import Path

    settings = options.settings(spec, given)
    if dump is not None:
        from nnspec.cli.dump import dump_stage

        dump_stage(dump, spec, definitions, params, settings)
        return 0
    problem = options.load(spec, definitions, params)

    from nnspec.run import run
    from nnspec.solution.output import OutputFolder

    output = OutputFolder(Path(out) if out is not None else Path(f"{problem.name}.out"), force)
    wanted = {"certificate": certificate, "checkpoint": checkpoint}
    files = {kind: Path(path) for kind, path in wanted.items() if path is not None}
    for path in files.values():
        if not path.resolve().parent.is_dir():
            raise options.usage(f"cannot write {str(path)!r}: its folder does not exist")
    with _progress(stream) as progress:
        solution = run(problem, settings, output, progress.report, progress.say if explain else None, files)
    if as_json or stream:
        from nnspec.solution.record import summary

        options.echo_json(({"event": "result"} if stream else {}) | summary(solution))
    else:
        print_solution(solution, output.path)
    return exit_status(solution)


def _progress(stream: bool) -> Live | Quiet:
    from nnspec.cli.progress import Live, Quiet, Stream

    if stream:
        return Stream()
    if not sys.stderr.isatty():
        return Quiet()
    from rich.console import Console

    return Live(Console(stderr=True))


def exit_status(solution: Solution) -> int:
    from nnspec.status import Status

    match solution.status:
        case Status.OPTIMAL:
            return 0
        case Status.INFEASIBLE:
            return EXIT_INFEASIBLE
        case Status.UNBOUNDED:
            return EXIT_SPEC
        case Status.ERROR:
            return EXIT_INTERNAL
    return EXIT_STOPPED if solution.found else EXIT_NOTHING


HEADLINES = {
    "optimal": "proven optimal",
    "feasible": "found, nothing proven",
    "infeasible": "proven infeasible: no solution satisfies all constraints, ranges and budgets",
    "unbounded": "unbounded: the objective has no limit",
    "limit": "stopped at the limit",
    "interrupted": "interrupted",
    "error": "not to be trusted",
}


def print_solution(solution: Solution, folder: Path) -> None:
    """The result for people: on stdout; warnings on stderr."""
    from nnspec.cli.progress import percent, seconds, short

    click.echo(f"{HEADLINES[solution.status]} in {seconds(solution.seconds)}" + _how(solution))
    objective = solution.problem.objective
    if solution.objective is not None and objective.expression is not None:
        name = objective.label or "objective"
        click.echo(f"  {name} {short(solution.objective)}, bound {short(solution.bound)}, gap {percent(solution.gap)}")
    elif solution.bound is not None and objective.expression is not None:
        click.echo(f"  bound {short(solution.bound)}")
    if not solution.found and solution.status not in ("infeasible", "unbounded"):
        click.echo("  no solution found")
    for line in families(solution.variables):
        click.echo(f"  {line}")
    for name, network in solution.networks.items():
        if solution.problem.networks[name].free:
            click.echo(f"  {name}: {describe(network.network)}")
    if solution.files:
        click.echo(f"  written to {folder}/: {', '.join(file.name for file in solution.files)}")
    for warning in solution.warnings:
        click.echo(f"warning: {warning}", err=True)


SHOWN = 20
"""So many values of a family, and so many families, are printed; all of them are in solution.json."""


def families(variables: Mapping[str, float]) -> list[str]:
    """Values of variables, a line each; those that differ in their last index only share one: made[a,0..2] = 0 18 0."""
    from nnspec.cli.progress import short

    groups: dict[str, list[tuple[str, float]]] = {}
    for name, value in variables.items():
        stem, separator, last = name.removesuffix("]").rpartition("," if "," in name else "[")
        groups.setdefault(stem if separator else name, []).append((last, value))
    lines = []
    for stem, members in groups.items():
        values = " ".join(short(value) for _, value in members[:SHOWN])
        if len(members) > SHOWN:
            values += f" ... and {len(members) - SHOWN:,} more"
        opened = "," if "[" in stem else "["
        if stem in variables:
            lines.append(f"{stem} = {values}")
        elif len(members) == 1:
            lines.append(f"{stem}{opened}{members[0][0]}] = {values}")
        else:
            lines.append(f"{stem}{opened}{_range([key for key, _ in members])}] = {values}")
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"... and {len(lines) - SHOWN:,} lines more in solution.json"]
    return lines


def _range(keys: list[str]) -> str:
    """0..3 for consecutive numbers, else the keys themselves."""
    if keys[0].isdigit() and keys == [str(int(keys[0]) + i) for i in range(len(keys))]:
        return f"{keys[0]}..{keys[-1]}"
    return ",".join(keys[:SHOWN]) + (",..." if len(keys) > SHOWN else "")


def _how(solution: Solution) -> str:
    outcome = solution.outcome
    how = f"{outcome.engine} on {outcome.backend}" if outcome.backend else outcome.engine
    return f" ({how}, {outcome.nodes:,} nodes)"


def describe(network: Any) -> str:
    """A network in a line, with its counts: 2 -> h 2 relu -> out 1, 9 weights, 2 of them zero."""
    import numpy as np

    parts = []
    for layer in network.layers:
        shape = "x".join(map(str, layer.shape))
        kind = "" if layer.kind in ("input", "dense") else f"{layer.kind} "
        activation = "" if layer.activation.kind == "linear" else f" {layer.activation}"
        parts.append(f"{kind}{shape}{activation}")
    values = [np.asarray(p.value) for p in network.parameters if p.value is not None]
    total, zeros = sum(v.size for v in values), sum(int((v == 0).sum()) for v in values)
    arrow = " -> " if network.chain() is not None else ", "
    return f"{arrow.join(parts)} ({total} weights and biases" + (f", {zeros} zero)" if zeros else ")")
