"""nnspec verify: the files of a solve, or an engine's proof, checked again by separate and simpler code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnspec.cli import options
from nnspec.cli.main import EXIT_SPEC

if TYPE_CHECKING:
    from pathlib import Path

    from nnspec.problem.problem import Problem
    from nnspec.solution.verify import Verified


@click.command("verify")
@click.argument("path", metavar="FILE|DIR")
@click.argument("spec", metavar="[SPEC]", required=False)
@click.option("--spec", "option", metavar="SPEC", help="The spec that was solved; also as the second argument.")
@options.parameters
@options.json_flag
def command(path: str, spec: str | None, option: str | None, definitions: tuple[str, ...], params: str | None,
            as_json: bool) -> int:  # fmt: skip
    """Check the folder of a solve, or a proof that an engine wrote (solve --certificate).

    With a spec also that it belongs to this spec: the objective and all constraints of a folder are recomputed from its
    files, the data in a proof are compared. Exit status 0 if everything holds, else 1.
    """
    from pathlib import Path

    from nnspec.solution.output import RECORD
    from nnspec.solution.verify import verify_solution

    if spec is not None and option is not None:
        raise options.usage("the spec is named twice")
    spec = spec or option
    place = Path(path)
    if place.is_dir() or place.name == RECORD:
        folder = place if place.is_dir() else place.parent
        found = verify_solution(folder, None if spec is None else Path(spec))
    else:
        found = _proof(place, None if spec is None else options.load(spec, definitions, params))
    if as_json:
        options.echo_json({"ok": not found.fails, "holds": list(found.holds), "fails": list(found.fails)})
    else:
        for line in found.holds:
            click.echo(f"holds  {line}")
        for line in found.fails:
            click.echo(f"FAILS  {line}")
    return EXIT_SPEC if found.fails else 0


def _proof(path: Path, problem: Problem | None) -> Verified:
    """A certificate of an engine; which one's, the first bytes say."""
    try:
        with path.open("rb") as file:
            magic = file.read(2)
    except OSError as error:
        raise options.usage(f"cannot read {str(path)!r}: {error.strerror}") from None
    if magic == b"PK":
        return _boxes_proof(path, problem)
    if magic == b"\x1f\x8b":
        return _cells_proof(path, problem)
    raise options.usage(f"{str(path)!r} is neither the folder of a solve nor a proof that an engine wrote")


def _boxes_proof(path: Path, problem: Problem | None) -> Verified:
    from nnspec.engines.boxes.verify import verify
    from nnspec.solution.verify import Verified

    report = verify(path, problem)
    if not report.valid:
        return Verified((), (f"the proof: {report.reason}",))
    lines = [f"objective {report.objective:.9g} of the solution inside, recomputed",
             f"bound {report.bound:.9g}, proven by {report.boxes:,} boxes that cover the domain"]  # fmt: skip
    return Verified((*lines, *([_ABOUT_SPEC] if report.against_problem else [])), ())


def _cells_proof(path: Path, problem: Problem | None) -> Verified:
    from nnspec.engines.cells.verify import EvidenceError, about, verify
    from nnspec.solution.verify import Verified

    lines: tuple[str, ...] = ()
    try:
        report = verify(path)
        lines = report.lines
        if problem is None:
            return Verified(lines, ())
        notes = about(path, problem)
    except EvidenceError as error:
        return Verified(lines, (f"the proof: {error}",))
    return Verified((*lines, _ABOUT_SPEC, *notes), ())


_ABOUT_SPEC = "it is a proof about this spec"
