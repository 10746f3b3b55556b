"""Engines compiled ahead in parts, and tiny problems solved before anything is compiled."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnspec.engines.ahead import compile_parts, parts, processors
from nnspec.engines.boxes import ahead
from nnspec.engines.cells import CellsEngine
from nnspec.language.load import load_problem

TINY = """
import sys
from nnspec.engines.boxes import BoxesEngine
from nnspec.engines.interface import Limits
from nnspec.language.load import load_problem
SPEC = '''data D = table(x = [[0.0], [1.0], [2.0], [3.0]], y = [0.0, 1.0, 1.2, 0.1])
net f = input(1) -> h: dense(1, tanh) -> dense(1) with weights in -3..3, biases in -3..3
minimize sse(f, D) + 0.1 * l2(f, biases = true)
'''
outcome = BoxesEngine().solve(load_problem(SPEC), Limits(gap=1e-3, threads=1, nodes=NODES))
print(outcome.status.value, repr(outcome.objective), repr(outcome.bound), outcome.nodes)
MORE
"""


def run(cache: Path, nodes: str, more: str) -> list[str]:
    code = TINY.replace("NODES", nodes).replace("MORE", more)
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.split()


def test_a_tiny_problem_is_solved_uncompiled(tmp_path: Path) -> None:
    """With an empty cache, which stays empty; the answer is that of compiled code."""
    first = run(tmp_path / "empty", "None", "print('nnspec.engines.boxes.local' in sys.modules)")
    assert not list((tmp_path / "empty").rglob("*.nbc"))
    assert first[0] == "optimal"
    assert first[4:] == ["False"]
    from nnspec.engines.boxes import BoxesEngine
    from nnspec.engines.interface import Limits

    spec = TINY.split("'''")[1]
    compiled = BoxesEngine().solve(load_problem(spec), Limits(gap=1e-3, threads=1, nodes=100000))
    assert float(first[1]) == pytest.approx(compiled.objective, rel=1e-9)
    assert float(first[2]) == pytest.approx(compiled.bound, rel=1e-9)
    assert int(first[3]) == compiled.nodes


def test_parts_have_an_engine_and_failures_are_reported() -> None:
    assert parts("boxes")
    assert compile_parts([("boxes", "no such part")]) == [("boxes", "no such part")]


def test_processors_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processors() == os.cpu_count()


@pytest.mark.parametrize("part", parts("cells"))
def test_problems_that_compile_cells_are_for_cells(part: str) -> None:
    module = importlib.import_module("nnspec.engines.cells.ahead")
    assert [CellsEngine().accepts(load_problem(text)) for text in module.PROBLEMS[part]] == [
        None for _ in module.PROBLEMS[part]
    ]
    assert module.PROBLEMS[part]


@pytest.mark.parametrize("part", parts("boxes"))
def test_types_of_calls_are_those_of_the_functions(part: str) -> None:
    for name, types in ahead.calls(part).items():
        module, function = name.split(".")
        called = getattr(importlib.import_module(f"nnspec.engines.boxes.{module}"), function)
        assert len(types) == len(inspect.signature(called.py_func).parameters), name


def test_each_function_with_a_signature_is_in_one_part() -> None:
    listed = [name for names in ahead.LINKED.values() for name in names]
    modules = {m: importlib.import_module(f"nnspec.engines.boxes.{m}") for m in ahead.MODULES}
    found = {f"{m}.{name}" for m, module in modules.items() for name, f in vars(module).items()
             if hasattr(f, "dispatcher") and f.dispatcher.py_func.__module__ == module.__name__}  # fmt: skip
    assert sorted(listed) == sorted(found)


@pytest.mark.long
def test_a_solve_after_compiling_ahead_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert compile_parts([("boxes", part) for part in parts("boxes")]) == []
    tail = ("from nnspec.engines.boxes import local, search; "
            "print(*(sum(f.stats.cache_misses.values()) for m in (local, search) for f in vars(m).values()"
            " if hasattr(f, 'stats')))")  # fmt: skip
    misses = run(tmp_path, "100", tail)[4:]
    assert len(misses) > 10
    assert set(misses) == {"0"}
