"""As much of GAMS as our files use, read into a PySCIPOpt model: declarations, bounds, equations, what to solve."""

from __future__ import annotations

import re

import pyscipopt


def read(text):
    """The model; numbers and functions mean what the GAMS manual says (integers have the lower bound 0 by default)."""
    model = pyscipopt.Model()
    model.hideOutput()
    model.setParam("misc/usesymmetry", 0)
    head = text[: text.index("..")]
    head = head[: head.rindex("\n")]
    kinds = {"BINARY VARIABLES": ("B", 0, 1), "INTEGER VARIABLES": ("I", 0, None), "VARIABLES": ("C", None, None),
             "POSITIVE VARIABLES": ("C", 0, None)}  # fmt: skip
    variables = {}
    for title, (kind, lo, hi) in kinds.items():
        block = re.search(rf"^{title}\n(.*?);", head, re.MULTILINE | re.DOTALL)
        for name in block[1].split() if block else []:
            variables[name] = model.addVar(name, vtype=kind, lb=lo, ub=hi)
    space = {
        "exp": pyscipopt.exp, "log": pyscipopt.log, "sqrt": pyscipopt.sqrt, "sin": pyscipopt.sin, "abs": abs,
        "cos": pyscipopt.cos, "power": lambda x, k: x**k, "sqr": lambda x: x**2, **variables,
    }  # fmt: skip
    body, _, tail = text.partition("MODEL ")
    seen = set()
    for statement in body[len(head) :].split(";"):
        statement = " ".join(statement.split())
        if match := re.fullmatch(r"(\w+)\.\. (.*) (=[leg]=) (.*)", statement):
            name, left, sense, right = match.groups()
            assert name not in seen
            # GAMS takes no sign behind an operator, and a power with ** only of positive numbers
            assert not re.search(r"[-+*/] *[-+]|\*\* *\d+(?![.\d])", f"{left} {sense} {right}"), statement
            seen.add(name)
            left, right = (eval(side, {"__builtins__": {}}, space) for side in (left, right))
            row = {"=l=": lambda a, b: a <= b, "=g=": lambda a, b: a >= b, "=e=": lambda a, b: a == b}[sense]
            model.addCons(row(left, right))
        elif match := re.fullmatch(r"(\w+)\.(lo|up|fx|l) = (\S+)", statement):
            name, what, value = match.groups()
            if what in ("lo", "fx"):
                model.chgVarLb(variables[name], float(value))
            if what in ("up", "fx"):
                model.chgVarUb(variables[name], float(value))
        else:
            assert not statement, statement
    declared = re.search(r"^EQUATIONS\n(.*?);", head, re.MULTILINE | re.DOTALL)[1].split()
    assert set(declared) == seen
    goal, name = re.search(r"USING \w+ (minimizing|maximizing) (\w+);", tail).groups()
    model.setObjective(variables[name], "minimize" if goal == "minimizing" else "maximize")
    return model
