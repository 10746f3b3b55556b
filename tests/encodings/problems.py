"""Random tiny problems, built directly, for differential tests."""

from __future__ import annotations

import itertools

import numpy as np

from nnspec.problem import (
    Activation,
    DataSet,
    Layer,
    Network,
    Objective,
    Parameter,
    Point,
    Problem,
)
from nnspec.problem import expression as ex
from nnspec.problem.losses import CLASSIFICATION, REGRESSION

SMOOTH = ("tanh", "sigmoid", "softplus", "gelu", "silu")
PIECEWISE = ("relu", "leaky_relu", "abs", "hardtanh", "sign", "step")
DOMAINS = ("real", "int", "binary", "two", "three", "spread", "wide")


def parameter(name, shape, domain="real", box=2.0):
    match domain:
        case "real":
            return Parameter.box(name, shape, -box, box)
        case "int":
            return Parameter.box(name, shape, -2, 2, "int")
        case "wide":
            return Parameter.box(name, shape, -7, 8, "int")
        case "binary":
            return Parameter.box(name, shape, 0, 1, "int")
        case "two":
            return Parameter.box(name, shape, kind="set", values=(-1, 1))
        case "three":
            return Parameter.box(name, shape, kind="set", values=(-1, 0, 1))
        case "spread":
            return Parameter.box(name, shape, kind="set", values=(-2, -0.5, 0, 1, 1.5, 2))
    raise ValueError(domain)


def dense_network(sizes, activation="relu", name="f", domain="real", bias_domain="real", box=2.0, output="linear",
                  bias=True, **more):  # fmt: skip
    """A chain of dense layers; `activation` a word or an Activation."""
    kind = activation if isinstance(activation, Activation) else Activation(activation, 0.1)
    layers = [Layer("x", "input", (), (sizes[0],))]
    for k, (n, m) in enumerate(itertools.pairwise(sizes)):
        last = k == len(sizes) - 2
        own = "out" if last else f"h{k + 1}"
        w = parameter(f"{name}.{own}.weights", (m, n), domain, box)
        b = parameter(f"{name}.{own}.bias", (m,), bias_domain, box) if bias else None
        layers.append(Layer(own, "dense", (layers[-1].name,), (m,), Activation(output) if last else kind, w, b))
    return Network(name, tuple(layers), (layers[-1].name,), **more)


def data_for(kind, r, samples, inputs, outputs, weights=False):
    x = np.round(r.uniform(-1, 1, (samples, inputs)), 2)
    if kind in REGRESSION:
        y = np.round(r.uniform(-1, 1, (samples, outputs)), 2)
    elif outputs == 1:
        y = r.integers(0, 2, (samples, 1)).astype(float)
    else:
        y = r.integers(0, outputs, (samples, 1)).astype(float)
    return DataSet("D", x, y, weights=r.integers(1, 4, samples).astype(float) if weights else None)


def loss(kind, r):
    return ex.Loss(kind, "f", "D", delta=0.4 if kind == "huber" else None, q=0.3 if kind == "pinball" else None,
                   margin=0.25 if kind == "errors" else None)  # fmt: skip


def training(kind, activation, r, *, sizes=None, domain="real", bias_domain="real", box=2.0, samples=None, extra=None,
             constraints=(), sense="minimize", weights=False, **more):  # fmt: skip
    """minimize loss(f, D) + extra."""
    outputs = (
        3
        if kind == "cross_entropy"
        else int(r.integers(2, 4))
        if kind in CLASSIFICATION and kind != "logistic" and r.random() < 0.4
        else 1
    )
    sizes = sizes or (2, int(r.integers(1, 3)), outputs)
    f = dense_network(sizes, activation, domain=domain, bias_domain=bias_domain, box=box, **more)
    data = data_for(kind, r, samples or int(r.integers(2, 5)), sizes[0], sizes[-1], weights)
    objective = loss(kind, r)
    if extra is not None:
        objective = ex.Sum((objective, extra))
    return Problem("p", {"f": f}, {"D": data}, {}, Objective(sense, objective), tuple(constraints))


def random_point(problem, r):
    """A point that respects the domains of weights and variables."""
    values = {}
    for p in problem.free_parameters():
        if p.kind == "set":
            values[p.name] = r.choice(np.asarray(p.values), size=p.shape)
        elif p.kind == "int":
            values[p.name] = np.floor(r.random(p.shape) * (p.hi - p.lo + 1)) + p.lo
        else:
            v = p.lo + r.random(p.shape) * (p.hi - p.lo)
            values[p.name] = np.where(r.random(p.shape) < 0.15, 0.0, v)
            values[p.name] = np.clip(values[p.name], p.lo, p.hi)
    variables = {}
    for v in problem.variables.values():
        lo, hi = (0, 1) if v.kind == "binary" else (v.lo, v.hi)
        variables[v.name] = float(r.integers(int(lo), int(hi) + 1)) if v.kind != "real" else float(r.uniform(lo, hi))
    return Point(values, variables)
