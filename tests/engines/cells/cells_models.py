"""Problems for the tests, and the same problems as plain SCIP models written without anything of the engine."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from nnspec.problem import expression as ex
from nnspec.problem.data import DataSet
from nnspec.problem.evaluate import objective, violations
from nnspec.problem.network import Activation, Layer, Network, Parameter
from nnspec.problem.problem import Objective, Problem

INF = math.inf


def training(x, y, neurons=1, activation="relu", kind="sse", weights=INF, biases=INF, outputs=INF, output_bias=INF,
             bias=True, use_output_bias=True, alpha=0.1, q=None, margin=None, counts=None, factor=1.0, delta=None,
             decay=0.0, decay_biases=False):
    """A training problem with the same symmetric box for each group of parameters, and decay * l2."""
    x = np.asarray(x, dtype=float)
    d = x.shape[1]
    hidden = Layer(
        "h", "dense", ("in",), (neurons,), Activation(activation, alpha),
        Parameter.box("f.h.weights", (neurons, d), -weights, weights),
        Parameter.box("f.h.bias", (neurons,), -biases, biases) if bias else None,
    )  # fmt: skip
    out = Layer(
        "out", "dense", ("h",), (1,), Activation(), Parameter.box("f.out.weights", (1, neurons), -outputs, outputs),
        Parameter.box("f.out.bias", (1,), -output_bias, output_bias) if use_output_bias else None,
    )  # fmt: skip
    network = Network("f", (Layer("in", "input", (), (d,)), hidden, out), ("out",))
    loss = ex.Loss(kind, "f", "D", q=q, margin=margin, delta=delta)
    objective = loss if factor == 1.0 else ex.Product((ex.Constant(factor), loss))
    if decay:
        size = ex.Size("l2", "f", biases=decay_biases)
        objective = ex.Sum((objective, ex.Product((ex.Constant(decay), size))))
    data = DataSet("D", x, np.asarray(y, dtype=float).reshape(-1, 1), weights=counts)
    return Problem("test", {"f": network}, {"D": data}, {}, Objective("minimize", objective))


def boxed(p, **ranges):
    """The problem with other ranges (lo, hi): w and b of hidden weights and biases, v and c of the output."""
    f = p.networks["f"]
    hidden, out = f.layers[1:]

    def put(parameter, name):
        if parameter is None or name not in ranges:
            return parameter
        lo, hi = (np.array(np.broadcast_to(np.asarray(a, dtype=float), parameter.shape)) for a in ranges[name])
        return replace(parameter, lo=lo, hi=hi)

    hidden = replace(hidden, weights=put(hidden.weights, "w"), bias=put(hidden.bias, "b"))
    out = replace(out, weights=put(out.weights, "v"), bias=put(out.bias, "c"))
    return replace(p, networks={"f": replace(f, layers=(f.layers[0], hidden, out))})


def agree(p, out, other, proven=True):
    """The intervals [bound, objective] of the engine and of another one meet; the engine's network is what it says."""
    assert objective(p, out.point) == pytest.approx(out.objective, abs=1e-12)
    assert not violations(p, out.point, 1e-9)
    assert out.bound <= out.objective + 1e-12
    slack = 2e-5 * max(1.0, abs(out.objective))
    if other.objective is not None:
        assert out.bound <= other.objective + slack, "the engine's bound is above a network of the other one"
    if proven and other.bound is not None:
        assert other.bound <= out.objective + slack, "the other engine proved that the engine's network does not exist"


def teacher(n, d=2, seed=1):
    """Two or three relu neurons plus noise 0.1, inputs uniform in [-1, 1]^d."""
    r = np.random.RandomState(seed)
    x = r.uniform(-1, 1, (n, d))

    def relu(a):
        return np.maximum(a, 0)

    y = relu(1.5 * x[:, 0] - x[:, 1] + 0.2) - 1.2 * relu(0.5 * x[:, 0] + 1.3 * x[:, 1] - 0.1)
    y = y + 0.3 * relu(-x[:, 0] + 0.4 * x[:, 1]) + 0.1 * r.randn(n)
    return x, y


def hardtanh(m, z, big):
    """A variable that is z clipped to [-1, 1], |z| <= big - 1."""
    high, low, h = m.addVar(vtype="B"), m.addVar(vtype="B"), m.addVar(lb=-1, ub=1)
    m.addCons(high + low <= 1)
    for c in (h <= z + big * low, h >= z - big * high, h >= 1 - 2 * (1 - high), h <= -1 + 2 * (1 - low),
              z >= 1 - big * (1 - high), z <= -1 + big * (1 - low)):  # fmt: skip
        m.addCons(c)
    return h


def threshold(m, z, big, signed):
    """1 where z >= 0, else 0 or -1; z < 0 is z <= -1e-4, beyond what tolerances allow."""
    on = m.addVar(vtype="B")
    m.addCons(z >= -big * (1 - on))
    m.addCons(z <= -1e-4 + big * on)
    return 2 * on - 1 if signed else on


def scip(x, y, neurons, activation, kind, weights, biases, outputs, output_bias, alpha=0.1, q=0.5, margin=1.0,
         counts=None, limit=20.0, most=None, prices=None, delta=1.0, decay=0.0, decay_biases=False):  # fmt: skip
    """(primal, dual) of the problem as it stands: big-M activations, products of output weights and activations.

    `most` limits and `prices` charge numbers of nonzeros: of "h", "out", "l0" (both), "neurons", "inputs".
    """
    from pyscipopt import Model, quicksum

    n, d = np.shape(x)
    counts = np.ones(n) if counts is None else counts
    m = Model()
    m.hideOutput()
    m.setParam("limits/time", limit)
    m.setParam("misc/usesymmetry", 0)
    m.setParam("limits/gap", 1e-7)
    w = [[m.addVar(lb=-weights, ub=weights) for _ in range(d)] for _ in range(neurons)]
    b = [m.addVar(lb=-biases, ub=biases) for _ in range(neurons)]
    v = [m.addVar(lb=-outputs, ub=outputs) for _ in range(neurons)]
    c = m.addVar(lb=-output_bias, ub=output_bias)
    charge = 0.0
    if most or prices:

        def nonzero(variable, bound):
            z = m.addVar(vtype="B")
            m.addCons(variable <= bound * z)
            m.addCons(variable >= -bound * z)
            return z

        w_on = [[nonzero(e, weights) for e in row] for row in w]
        v_on = [nonzero(e, outputs) for e in v]
        inputs = [m.addVar(vtype="B") for _ in range(d)]
        for row in w_on:
            for z, used in zip(row, inputs, strict=True):
                m.addCons(z <= used)
        number = {"h": quicksum(e for row in w_on for e in row) + quicksum(nonzero(e, biases) for e in b),
                  "out": quicksum(v_on) + nonzero(c, output_bias), "neurons": quicksum(v_on),
                  "inputs": quicksum(inputs)}  # fmt: skip
        number["l0"] = number["h"] + number["out"]
        for name, k in (most or {}).items():
            m.addCons(number[name] <= k)
        charge = quicksum(price * number[name] for name, price in (prices or {}).items())
    slope = {"relu": 0.0, "abs": -1.0, "leaky_relu": alpha}.get(activation)
    if decay:
        squares = m.addVar(lb=0.0)
        decayed = [e for row in w for e in row] + v + ([*b, c] if decay_biases else [])
        m.addCons(squares >= quicksum(e * e for e in decayed))
        charge = charge + decay * squares
    total = []
    for i in range(n):
        terms = []
        for k in range(neurons):
            big = float(weights * np.abs(x[i]).sum() + biases)
            z = quicksum(w[k][j] * float(x[i, j]) for j in range(d)) + b[k]
            if activation in ("step", "sign"):
                terms.append(v[k] * threshold(m, z, big + 1, activation == "sign"))
                continue
            if activation == "hardtanh":
                terms.append(v[k] * hardtanh(m, z, big + 1))
                continue
            on = m.addVar(vtype="B")
            h = m.addVar(lb=-big, ub=big)
            m.addCons(z <= big * on)
            m.addCons(z >= -big * (1 - on))
            for side, s in ((1 - on, 1.0), (on, slope)):
                m.addCons(h - s * z <= 2 * big * side)
                m.addCons(h - s * z >= -2 * big * side)
            terms.append(v[k] * h)
        o = m.addVar(lb=-1e3, ub=1e3)
        m.addCons(o == quicksum(terms) + c)
        e = m.addVar(lb=0.0)
        r = o - float(y[i])
        if kind in ("sse", "mse"):
            m.addCons(e >= r * r)
        elif kind == "errors":
            wrong = m.addVar(vtype="B")
            size = output_bias + neurons * outputs * (weights * float(np.abs(x[i]).sum()) + biases)
            m.addCons((1.0 if y[i] > 0 else -1.0) * o >= margin - (size + margin) * wrong)
            m.addCons(e >= wrong)
        elif kind == "hinge":
            m.addCons(e >= margin - (1.0 if y[i] > 0 else -1.0) * o)
        elif kind == "squared_hinge":
            short = m.addVar(lb=0.0)
            m.addCons(short >= margin - (1.0 if y[i] > 0 else -1.0) * o)
            m.addCons(e >= short * short)
        elif kind == "huber":  # its infimal convolution: r = a + b, a^2 / 2 + delta |b|
            a, b_abs = m.addVar(lb=None), m.addVar(lb=0.0)
            m.addCons(b_abs >= r - a)
            m.addCons(b_abs >= a - r)
            m.addCons(e >= 0.5 * a * a + delta * b_abs)
        elif kind == "pinball":
            m.addCons(e >= -q * r)
            m.addCons(e >= (1 - q) * r)
        else:
            m.addCons(e >= r)
            m.addCons(e >= -r)
        total.append(float(counts[i]) * e)
    if kind == "max_error":
        top = m.addVar(lb=0.0)
        for i in range(n):
            m.addCons(top >= total[i] / float(counts[i]))
        m.setObjective(top + charge)
    else:
        divisor = float(np.sum(counts)) if kind in ("mse", "mae") else 1.0
        m.setObjective(quicksum(total) / divisor + charge)
    try:
        m.optimize()
    except Exception as e:
        if "LP solver" not in str(e):
            raise
        return INF, -INF  # SCIP gave up on numerical troubles
    primal = m.getObjVal() if m.getNSols() else INF
    return primal, m.getDualbound()
