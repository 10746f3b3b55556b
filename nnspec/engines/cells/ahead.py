"""Problems that make the cells engine compile itself: numba compiles for the types of a call, so each kind of search
needs its own."""

from __future__ import annotations

_DATA = "data D = table(x = [[0.0], [1.0], [2.0], [4.0]], y = [0.0, 1.0, 0.0, 1.0])\n"
_PLANE = "data D = table(x = [[0.0, 1.0], [1.0, 0.5], [2.0, 3.0], [4.0, 1.0]], y = [0.0, 1.0, 0.0, 1.0])\n"
_BOX = "  with weights in -4..4, biases in -4..4\n"
_RELU = f"{_DATA}net f = input(1) -> dense(1, relu) -> dense(1)\n"
PROBLEMS = {
    "general": (f"{_RELU}minimize sse(f, D)\n", f"{_RELU}{_BOX}minimize sse(f, D) + 0.1 * l2(f)\n"),
    "fewest": (f"{_RELU}minimize errors(f, D)\n",),
    "errors": (f"{_PLANE}net f = input(2) -> dense(1, step) -> dense(1)\nminimize errors(f, D)\n",),
}
PARTS = tuple(PROBLEMS)


def compile_part(part: str) -> None:
    """Compile what the problems of this part need; the code stays on disk."""
    from nnspec.engines.cells import CellsEngine
    from nnspec.engines.interface import Limits
    from nnspec.language.load import load_problem

    for text in PROBLEMS[part]:
        problem = load_problem(text)
        engine = CellsEngine()
        reason = engine.accepts(problem)
        if reason is not None:
            raise RuntimeError(f"a problem of part {part} is not one for cells: {reason}")
        engine.solve(problem, Limits(threads=1))
