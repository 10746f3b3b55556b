"""Any text ends in a problem or in diagnostics, in bounded time and memory; the checker starts fast."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from checking import error, errors, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from nnspec.language.load import check
from nnspec.language.render import render
from nnspec.problem import expression as ex

BAD = Path(__file__).parent.parent / "bad"
CORPUS = [p.read_text(encoding="utf-8", errors="replace") for p in sorted(BAD.glob("NNS*.nns"))]
TOKEN = re.compile(r'"[^"\n]*"|\d+\.\d+|\w+|\.\.|[<>=!]=|==>|->|\S|\s')


@settings(max_examples=250, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_specs_end_in_diagnostics(rng: random.Random) -> None:
    tokens = TOKEN.findall(rng.choice(CORPUS))
    others = TOKEN.findall(rng.choice(CORPUS))
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(tokens))
        tokens[at : at + rng.choice([0, 1])] = [rng.choice(others)]
    result = check("".join(tokens) + "\n")
    assert (result.problem is None) == bool(result.errors)
    assert "Traceback" not in render(result.diagnostics)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_ends_in_diagnostics(text: str) -> None:
    result = check(text + "\n")
    render(result.diagnostics)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("let a = sum(i for i in 0..10^9)", "NNS029"),
        ("let a = len([0 for i in 0..10^5, j in 0..10^5])", "NNS029"),
        ("let a = sum(sum(i * j for j in 0..10^4) for i in 0..10^4)", "NNS029"),
        ("let a = sum(1 for i in 0..10^6 if i < 3)", "NNS029"),
        ("var x[i in 0..10^7] in 0..1", "NNS029"),
        ("set S = {i for i in 0..10^8}", "NNS029"),
        ("let a = 10^10^10", "NNS038"),
        ("let a = 2^(2^1000)", "NNS038"),
        ("let a = (10^300) * (10^300)", "NNS038"),
        ("let a = 1 / 1e-320", "NNS038"),
        ("var x in 0..1\nlet a = x + inf", "NNS038"),
        ("let a = sum(i for i in 0..inf)", "NNS034"),
        ("net f = input(1, 100000, 100000) -> flatten -> dense(1)", "NNS043"),
        ("net f = input(1, 1000, 1000) -> conv(1000, 1) -> flatten -> dense(1)", "NNS043"),
        ("let a = [i for i in 0..900000]\nlet b = a + a + a", "NNS029"),
    ],
)
def test_what_would_not_end_is_refused_at_once(text: str, code: str) -> None:
    assert code in [d.code for d in errors(text + "\nsatisfy")]


def test_doubling_definitions_do_not_explode() -> None:
    text = "var x in 0..1\nlet a0 = sin(x)\n" + "".join(f"let a{i + 1} = exp(a{i}) + a{i}\n" for i in range(60))
    assert error(text + "minimize a60").code == "NNS029"


def test_long_chains_of_definitions_are_followed_in_any_order_but_not_to_any_depth() -> None:
    forward = "".join(f"let a{i + 1} = a{i} + 1\n" for i in range(3000))
    assert problem("let a0 = 1\n" + forward + "var x in 0..1\nminimize x + a3000").objective.expression is not None
    backward = "".join(f"let a{i} = a{i + 1} + 1\n" for i in range(3000))
    p = problem(backward + "let a3000 = 1\nvar x in 0..1\nminimize x + a0")
    assert isinstance(p.objective.expression, ex.Sum)
    assert p.objective.expression.terms[1] == ex.Constant(3001.0)
    deep = "var x in 0..1\nlet a0 = x\n" + "".join(f"let a{i + 1} = sin(a{i})\n" for i in range(3000))
    assert error(deep + "minimize a3000").code == "NNS028"


def test_deepest_tree_in_the_deepest_scope() -> None:
    nested = "x"
    for _ in range(45):
        nested = f"sum({nested} for i in 0..0)"
    problem(f"var x in 0..1\nminimize {nested}")
    assert error(f"var x in 0..1\nlet b = {nested.replace('x', 'a')}\nlet a = {nested.replace('x', '-c')}\nlet c = zz\n"
                 "minimize b").code == "NNS020"  # fmt: skip


def test_five_thousand_constraints_are_five_thousand_constraints() -> None:
    lines = [f"constraint c{i}: 2 * x[{i}] - x[{(7 * i) % 5000}] >= -1" for i in range(5000)]
    p = problem("var x[i in 0..4999] in 0..1\nminimize sum(x)\n" + "\n".join(lines))
    assert len(p.constraints) == 5000
    assert len({c.label for c in p.constraints}) == 5000


def test_checking_imports_no_solver_and_no_framework(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from nnspec.language.load import check
        spec = "data D = table(x = [[0], [1]], y = [0, 1])\\nnet f = input() -> dense(1)\\nminimize sse(f, D)\\n"
        result = check(spec)
        assert result.problem is not None
        heavy = {"scipy", "numba", "onnx", "onnxruntime", "pyscipopt", "pyomo", "highspy", "gurobipy", "pyarrow"}
        print(sorted(heavy & {m.split(".")[0] for m in sys.modules}))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "[]"
