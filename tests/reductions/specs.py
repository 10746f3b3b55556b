"""Random tiny problems of every kind that reductions have to deal with or step aside from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnspec.problem import (
    Activation,
    BreakSymmetry,
    Constraint,
    DataSet,
    Layer,
    Network,
    Objective,
    Parameter,
    Point,
    Problem,
    Tie,
)
from nnspec.problem import expression as ex

REGRESSION = ("sse", "mse", "sae", "mae", "max_error", "huber", "pinball")
BINARY = ("hinge", "squared_hinge", "logistic", "cross_entropy", "errors")


def network(d, hidden, activation, outputs=1, box=(-3.0, 3.0), name="f", bias=True):
    """A chain of dense layers f.h1, f.h2, ..., f.out; `box` may be a function of (layer number, role)."""
    layers = [Layer("x", "input", (), (d,))]
    sizes, previous = [d, *hidden, outputs], "x"
    for i, n in enumerate(sizes[1:]):
        last = i == len(hidden)
        layer = "out" if last else f"h{i + 1}"
        lo_w, hi_w = box(i, "weights") if callable(box) else box
        lo_b, hi_b = box(i, "bias") if callable(box) else box
        layers.append(Layer(
            layer, "dense", (previous,), (n,), Activation() if last else activation,
            Parameter.box(f"{name}.{layer}.weights", (n, sizes[i]), lo_w, hi_w),
            Parameter.box(f"{name}.{layer}.bias", (n,), lo_b, hi_b) if bias or last else None,
        ))  # fmt: skip
        previous = layer
    return Network(name, tuple(layers), (previous,))


def problem(net, x, y, terms, constraints=(), **more):
    return Problem("test", {net.name: net}, {"D": DataSet("D", np.asarray(x, float), np.asarray(y, float))}, {},
                   Objective("minimize", ex.Sum(tuple(terms))), tuple(constraints), **more)  # fmt: skip


def plain_box(rng):
    b = rng.uniform(0.5, 4)
    return (-b, b)


def random_box(rng):
    kind = rng.integers(5)
    if kind == 0:
        return (-rng.uniform(0.5, 4), rng.uniform(0.5, 4))
    if kind == 1:
        return (0.0, rng.uniform(0.5, 4))
    if kind == 2 and rng.random() < 0.4:
        return (rng.uniform(0.2, 1), rng.uniform(1, 3))
    return plain_box(rng)


def random_data(rng, d, outputs, kind):
    n = int(rng.integers(2, 6))
    x = rng.integers(-2, 3, size=(n, d)) / 2.0
    if rng.random() < 0.3:
        x[:, 0] = rng.choice([0.0, 0.7])
    if outputs > 1:
        y = rng.integers(0, outputs, size=(n, 1)) if kind in BINARY else rng.normal(size=(n, outputs)).round(1)
    else:
        y = rng.integers(0, 2, size=(n, 1)) if kind in BINARY else rng.normal(size=(n, 1)).round(1)
    return x, y.astype(float)


def loss(rng, outputs):
    kinds = REGRESSION + (BINARY if outputs == 1 else ("hinge", "squared_hinge", "cross_entropy", "errors"))
    kind = str(rng.choice(kinds))
    options = {}
    if kind == "huber":
        options["delta"] = float(rng.choice([0.3, 1.0]))
    if kind == "pinball":
        options["q"] = float(rng.choice([0.2, 0.5]))
    return ex.Loss(kind, "f", "D", **options)


def times(c, e):
    return ex.Product((ex.Constant(float(c)), e))


def with_dead_neurons(net, rng):
    """Neurons of random hidden layers cut off: no way out, no way in, or a bias that keeps them negative."""
    layers = list(net.layers)
    for i in range(1, len(layers) - 1):
        for k in np.flatnonzero(rng.random(layers[i].size) < 0.6):
            how = rng.integers(3)
            own = layers[i].parameters
            if how == 0:
                w = layers[i + 1].weights
                lo, hi = w.lo.copy(), w.hi.copy()
                lo[:, k] = hi[:, k] = 0.0
                layers[i + 1] = replace(layers[i + 1], weights=replace(w, lo=lo, hi=hi))
                continue
            for p in own:
                lo, hi = p.lo.copy(), p.hi.copy()
                if how == 1:
                    lo[k] = hi[k] = 0.0
                elif p is layers[i].bias:
                    lo[k], hi[k] = -40.0, -30.0
                new = replace(p, lo=lo, hi=hi)
                layers[i] = replace(layers[i], **{"bias" if p is layers[i].bias else "weights": new})
    return replace(net, layers=tuple(layers))


def with_integers(net):
    """The same network with integer weights in every layer but the last, as far as the ranges hold integers."""

    def integer(p):
        if p is None or not p.free:
            return p
        lo, hi = np.ceil(p.lo), np.floor(p.hi)
        return replace(p, kind="int", lo=lo, hi=hi) if np.all(lo <= hi) else p

    hidden = [z if z.name in net.outputs else replace(z, weights=integer(z.weights), bias=integer(z.bias))
              for z in net.layers]  # fmt: skip
    return replace(net, layers=tuple(hidden))


def random_problem(seed, budgets=True):
    """A problem with up to two hidden layers and anything that may be attached to it."""
    rng = np.random.default_rng(seed)
    d, outputs = int(rng.integers(1, 3)), int(rng.choice([1, 1, 1, 2]))
    hidden = [int(rng.integers(1, 4))] if rng.random() < 0.7 else [int(rng.integers(1, 3)), int(rng.integers(1, 3))]
    kind = str(rng.choice(["relu", "relu", "relu", "leaky_relu", "abs", "linear", "linear", "linear", "tanh"]))
    boxes = {}
    simple = rng.random() < 0.6

    def box(i, role):
        if (i, role) not in boxes:
            boxes[i, role] = plain_box(rng) if simple else random_box(rng)
        return boxes[i, role]

    net = network(d, hidden, Activation(kind, 0.1), outputs, box, bias=rng.random() < 0.8)
    if seed % 5 == 4 and kind != "linear":
        net = with_dead_neurons(net, np.random.default_rng(seed))
    if seed % 7 == 3:
        net = with_integers(net)
    e = loss(rng, outputs)
    x, y = random_data(rng, d, outputs, e.kind)
    terms, constraints, more = [e], [], {}
    layers = [layer.name for layer in net.layers[1:]]
    what = rng.integers(12)
    if what == 0:
        terms.append(times(rng.uniform(0.01, 0.5), ex.Size("l2", "f", biases=bool(rng.integers(2)))))
    elif what == 1:
        terms.append(times(rng.uniform(0.01, 0.5), ex.Size("l1", "f")))
    elif what == 2:
        terms.append(times(rng.uniform(0.01, 0.5), ex.Size("l0", "f", str(rng.choice(layers)))))
    elif what == 3:
        terms.append(times(rng.uniform(0.01, 0.5), ex.Size(str(rng.choice(["l0", "neurons", "inputs"])), "f")))
    elif what == 4:
        constraints.append(Constraint(ex.Comparison("<=", ex.Size("l0", "f", layers[0]), ex.Constant(2.0)), "size"))
    elif what == 5:
        entry = ex.ParameterRef(net.layers[1].weights.name, (0, 0))
        constraints.append(Constraint(ex.Comparison("<=", entry, ex.Constant(0.1)), "entry"))
    elif what == 6 and net.layers[1].weights.size > 1:
        name = net.layers[1].weights.name
        more["ties"] = (Tie((name, 0), (name, 1), float(rng.choice([1, -1]))),)
    elif what == 7:
        kinds = (str(rng.choice(["none", "scaling"])),)
        more["break_symmetry"] = (BreakSymmetry("f", str(rng.choice([*layers[:-1]])), kinds),)
    elif what == 8:
        terms += [times(0.1, ex.Size("l2", "f", layer)) for layer in layers[-2:]]
    elif what == 9:
        constraints.append(Constraint(ex.Comparison(">=", ex.Size("l0", "f"), ex.Constant(2.0)), "at least"))
    elif what == 10 and budgets:
        chosen, most = str(rng.choice(layers)), int(rng.integers(1, 4))
        net = replace(net, layers=tuple(replace(z, l0=most) if z.name == chosen else z for z in net.layers))
    elif what == 11 and budgets:
        net = replace(net, l0=int(rng.integers(1, 6)))
    return problem(net, x, y, terms, constraints, **more)


def random_points(p, rng, count):
    """Points in the box, many with zeros, so that budgets hold and neurons are out of use."""
    from nnspec.incumbents.coordinates import coordinates

    c = coordinates(p)
    z = c.starts(count, rng)
    z[rng.random(z.shape) < rng.choice([0.0, 0.3, 0.7], size=(count, 1))] = 0.0
    for row in z:  # outgoing weights of a neuron
        if rng.random() < 0.3 and len(row) > 2:
            row[-2] = 0.0
    z = np.clip(z, c.lo, c.hi)
    return [c.point(row) for row in z]


def copy(point):
    return Point({k: np.array(v) for k, v in point.parameters.items()}, dict(point.variables))
