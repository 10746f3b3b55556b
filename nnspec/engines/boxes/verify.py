"""Checks a certificate of the `boxes` engine: that its boxes tile the domain, and that each box's u proves the bound.

Written apart from the search: interval arithmetic with outward rounding (verify_intervals.py), the loss's conjugate in
plain numpy, and the incumbent judged by the definitions in nnspec.problem. Any u gives a valid bound, so the file
needs to be trusted in nothing: a changed number either leaves a proof that holds or makes the check fail.
"""

from __future__ import annotations

import itertools
import json
import math
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnspec.engines.boxes import certificate, kinds
from nnspec.engines.boxes import model as form
from nnspec.engines.compiled import refresh
from nnspec.problem import evaluate, losses
from nnspec.problem import expression as ex
from nnspec.problem.forward import activate
from nnspec.problem.network import Activation
from nnspec.problem.problem import Problem
from nnspec.tolerances import FEASIBILITY

TOLERANCE = 1e-7
"""Relative amount by which a box's bound may miss the claimed one: u is stored in single precision, and where its
domain cuts it off the search and the verifier may differ in the last digits of it."""

BISECTIONS = 4000
"""Most bisections of one box before the verifier gives up on it. A box needs a few, or some hundred where its bound
is close."""


@dataclass(frozen=True)
class Report:
    """The verdict. `objective` and `bound` are in the problem's units and sense; `reason` says what is wrong."""

    valid: bool
    reason: str
    objective: float | None
    bound: float | None
    boxes: int
    seconds: float
    against_problem: bool  # compared with a Problem, or only with the file's own copy of it


class _Invalid(Exception):
    pass


def verify(path: Path | str, problem: Problem | None = None) -> Report:
    """Check the certificate in `path`; with `problem`, also that it is a certificate of that problem."""
    began = time.monotonic()
    refresh(Path(__file__).parent)
    objective = bound = None
    boxes = 0
    try:
        head, arrays = _load(Path(path))
        n = head["numbers"]
        _consistent(n, arrays)
        objective = _incumbent(n, arrays)
        if problem is not None:
            _same_problem(n, arrays, problem, _target(n, float(head["bound"])))
        boxes = len(arrays["boxes"])
        _boxes(n, arrays, float(head["bound"]))
        bound = n["sense"] * (float(head["bound"]) + n["constant"])
        if n["sense"] * (bound - objective) > TOLERANCE * (1 + abs(objective)):
            raise _Invalid("the bound lies beyond the incumbent's value")
        reason = ""
    except _Invalid as e:
        reason = str(e)
    return Report(not reason, reason, objective, bound if not reason else None, boxes, time.monotonic() - began,
                  problem is not None)  # fmt: skip


def _load(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as f:
            head = json.loads(str(f["head"]))
            arrays = {k: f[k] for k in (*certificate.ARRAYS, "w", "z", "boxes", "u", "lam")}
        if head["format"] != certificate.FORMAT:
            raise _Invalid(f"unknown format {head['format']}")
        numbers = {k: float(head["numbers"][k]) for k in certificate.NUMBERS}
        head["numbers"], head["bound"] = numbers, float(head["bound"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as e:  # type: ignore[attr-defined]
        raise _Invalid(f"the file cannot be read as a certificate ({e})") from None
    n, d = (len(arrays["x"]), arrays["w"].shape[1]) if arrays["x"].ndim == arrays["w"].ndim == 2 else (0, 0)
    k, m = arrays["z"].shape if arrays["z"].ndim == 2 else (0, 0)
    c, r, t = (k - 1) * d + k * m, len(arrays["rows"]), len(arrays["prices"])
    shapes = {"x": (n, arrays["x"].shape[-1]), "cw": (n,),
              "copies": (k - 1, n * arrays["signs"].shape[-1], d), "signs": (k - 1, arrays["signs"].shape[-1]),
              "w": (k - 1, d), "z": (k, m), "boxes": (len(arrays["boxes"]), 1 + 2 * c),
              "u": (len(arrays["boxes"]), n * m), "lam": (len(arrays["boxes"]), _coupled(arrays, (k - 1) * d).sum()),
              **{a: (k - 1, d) for a in ("p2", "p1", "lo", "hi")},
              **{a: (k, m) for a in ("q2", "q1", "vlo", "vhi")}, "levels": (c, max(1, *arrays["levels"].shape[1:])),
              "counts": (c,), "rows": (r, c), "low": (r,), "high": (r,), "supports": (t, c),
              "prices": (t,)}  # fmt: skip
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise _Invalid(f"the array {name} has the wrong shape")
    for name, a in arrays.items():
        finite = np.isfinite(a) if name not in ("low", "high") else ~np.isnan(a)
        if a.dtype.kind not in ("f", "i") or (name not in ("u", "lam") and not np.all(finite)):
            raise _Invalid(f"the array {name} contains what is no finite number")
    if not (math.isfinite(head["bound"]) and all(map(math.isfinite, numbers.values()))):
        raise _Invalid("a number is not finite")
    return head, {k: np.ascontiguousarray(a, dtype=float) for k, a in arrays.items()}


def _coupled(a: dict[str, np.ndarray], hidden: int) -> np.ndarray:
    """Which rows have output weights: those with multipliers in the file."""
    rows = a["rows"]
    return np.any(rows[:, hidden:] != 0, axis=1) if rows.ndim == 2 else np.zeros(0, dtype=bool)


def _incumbent(n: dict[str, float], a: dict[str, np.ndarray]) -> float:
    """The value of the incumbent by the definitions, after checking that it lies in its domain."""
    w, z = a["w"], a["z"]
    slack = 1e-12
    if (
        np.any(w < a["lo"] - slack)
        or np.any(w > a["hi"] + slack)
        or np.any(z < a["vlo"] - slack)
        or np.any(z > a["vhi"] + slack)
    ):
        raise _Invalid("the incumbent lies outside the domain")
    point = np.concatenate([w.ravel(), z.ravel()])
    for value, levels, count in zip(point, a["levels"], a["counts"].astype(int)):
        if count and np.min(np.abs(levels[:count] - value)) > slack:
            raise _Invalid("the incumbent has a weight that is not one of its values")
    sums = a["rows"] @ point
    if np.any(sums > a["high"] + FEASIBILITY) or np.any(sums < a["low"] - FEASIBILITY):
        raise _Invalid("the incumbent breaks a linear constraint")
    prices = a["prices"][~np.any((point != 0) & (a["supports"] == 0), axis=1)]
    if not len(prices):
        raise _Invalid("the incumbent has more nonzero weights than allowed")
    kind = int(n["loss"])
    sees = np.einsum("krd,kd->rk", a["copies"], w)
    h = activate(Activation(kinds.ACTIVATIONS[int(n["activation"])], n["alpha"]), sees)
    h = np.einsum("igk,kg->ik", h.reshape(len(a["x"]), -1, len(w)), a["signs"])
    outputs = h @ z[:-1] + z[-1]
    name = {"class_hinge": "hinge", "class_squared_hinge": "squared_hinge"}.get(kinds.LOSSES[kind], kinds.LOSSES[kind])
    t = n["parameter"]
    if name == "max_error":
        value = a["cw"][0] * float(np.abs(outputs - a["y"]).max())
    else:
        value = losses.evaluate(name, outputs, a["y"], a["cw"], delta=t, q=t, margin=t)
    value += float((a["p2"] * w**2 + a["p1"] * np.abs(w)).sum() + (a["q2"] * z**2 + a["q1"] * np.abs(z)).sum())
    return n["sense"] * (value + float(prices.min()) + n["constant"])


def _same_problem(n: dict[str, float], a: dict[str, np.ndarray], problem: Problem, target: float) -> None:
    """The problem's arrays are those of the certificate, and no point outside the domain covered is below `target`."""
    model = form.read(problem)
    if isinstance(model, str):
        raise _Invalid(f"the problem is not one of this engine: {model}")
    for name in certificate.NUMBERS:
        if float(getattr(model, name)) != n[name]:
            raise _Invalid(f"the certificate belongs to another problem ({name} differs)")
    for name in ("x", "y", "cw", "copies", "signs", "p2", "p1", "q2", "q1", "levels", "counts", "rows", "low", "high"):
        if not np.array_equal(getattr(model, name), a[name]):
            raise _Invalid(f"the certificate belongs to another problem ({name} differs)")
    _supports_suffice(a, model, problem)
    stated = evaluate.objective(problem, model.point(a["w"], a["z"]))
    own = _incumbent(n, a)
    if n["sense"] * (stated - own) > TOLERANCE * (1 + abs(own)):
        raise _Invalid("the incumbent's value is not the one of its network")
    for lo, hi, square, linear in (("lo", "hi", "p2", "p1"), ("vlo", "vhi", "q2", "q1")):
        for side, sign in ((lo, 1.0), (hi, -1.0)):
            edge, allowed = sign * a[side], sign * getattr(model, side)
            # beyond a covered edge below zero the entry's own penalty is at least the one on the edge
            penalty = np.where(edge < 0, a[square] * edge**2 + a[linear] * np.abs(edge), 0.0)
            open_ = (edge > allowed) & ~(penalty * (1 - 1e-14) >= target)
            if side in ("vlo", "vhi") and np.any(open_[-1]):
                open_[-1] &= ~(_losses_beyond(n, a, sign) * (1 - 1e-12) >= target)
            if np.any(open_):
                raise _Invalid("the certificate covers less than the problem's domain")


def _supports_suffice(a: dict[str, np.ndarray], model: form.Model, problem: Problem) -> None:
    """Whether each set of nonzero weights that the problem allows lies in a support of the file that costs no more, by
    the judge's own counts, one set after the other."""
    hh, d = model.lo.shape
    network = next(p for p in problem.networks.values() if p.free)
    e = problem.objective.expression
    terms = ex.linear_terms(e)[1] if e is not None else []
    prices = [(model.sense * c, t) for c, t in terms if isinstance(t, ex.Size) and t.kind not in ("l1", "l2")]
    limits = [c.expression for c in problem.constraints if _has_size(c.expression)]
    budgets = [(None, network.l0), *((x.name, x.l0) for x in network.layers)]
    if not (prices or limits or any(k is not None for _, k in budgets)):
        if not (np.all(a["supports"][0] > 0) and a["prices"][0] == 0):
            raise _Invalid("weights are fixed to 0 for no reason")
        return
    lo, hi = (np.concatenate([s.ravel(), t.ravel()]) for s, t in ((model.lo, model.vlo), (model.hi, model.vhi)))
    open_ = np.flatnonzero(~np.all(a["supports"] > 0, axis=0) & ~((lo == 0) & (hi == 0)))
    if len(open_) > 18:
        raise _Invalid("there are too many sets of nonzero weights to be checked")
    orders = list(itertools.permutations(range(hh))) if model.order_by >= 0 else [tuple(range(hh))]
    images = np.vstack([np.hstack([a["supports"][:, : hh * d].reshape(-1, hh, d)[:, list(order)].reshape(-1, hh * d),
                                   a["supports"][:, hh * d :].reshape(-1, hh + 1, model.vlo.shape[1])
                                   [:, [*order, hh]].reshape(-1, model.vlo.size)]) for order in orders])  # fmt: skip
    costs = np.tile(a["prices"], len(orders))
    for chosen in itertools.product((0.0, 1.0), repeat=len(open_)):
        support = np.where((lo == 0) & (hi == 0), 0.0, 1.0)
        support[open_] = chosen
        if np.any((support == 0) & ((lo > 0) | (hi < 0))):
            continue
        point = model.point(support[: hh * d].reshape(hh, d), support[hh * d :].reshape(model.vlo.shape))
        if any(k is not None and evaluate.nonzeros(network, point, where) > k for where, k in budgets):
            continue
        if any(evaluate.violation(problem, point, c) > 0 for c in limits):
            continue
        price = sum(c * evaluate.size(problem, point, t) for c, t in prices)
        if not np.any(np.all(images >= support, axis=1) & (costs <= price + 1e-12 * (1 + abs(price)))):
            raise _Invalid("a set of nonzero weights that is allowed is not covered")


def _has_size(e: ex.Expression) -> bool:
    return isinstance(e, ex.Size) or any(_has_size(part) for part in ex.children(e))


def _losses_beyond(n: dict[str, float], a: dict[str, np.ndarray], sign: float) -> np.ndarray:
    """For each output (m,) a lower bound of the loss where its bias lies below the range covered (sign 1) or above
    (-1), and all other weights in theirs: then the output is at most the edge plus what the neurons contribute."""
    from nnspec.engines.boxes import verify_intervals as iv

    kind, t, cw = int(n["loss"]), n["parameter"], a["cw"]
    bound = np.zeros(a["vlo"].shape[1])
    if kind in (kinds.CROSS_ENTROPY, kinds.CLASS_HINGE, kinds.CLASS_SQUARED):
        return bound  # a low output does not show in these losses while the others may fall with it
    middle, radius = 0.5 * (a["lo"] + a["hi"]), 0.5 * (a["hi"] - a["lo"])
    copies = a["copies"]
    centre, reach = (np.einsum("krd,kd->rk", *pair) for pair in ((copies, middle), (np.abs(copies), radius)))
    reach += 1e-12 * (1 + np.einsum("krd,kd->rk", np.abs(copies), np.abs(middle) + radius))
    largest = np.array([[max(map(abs, iv.value(int(n["activation"]), n["alpha"], c - r, c + r))) for c, r in zip(*row)]
                        for row in zip(centre, reach)])  # fmt: skip
    largest = np.einsum("igk,kg->ik", largest.reshape(len(a["x"]), -1, len(middle)), np.abs(a["signs"]))
    most = largest @ np.maximum(np.abs(a["vlo"][:-1]), np.abs(a["vhi"][:-1])) * (1 + 1e-12)  # (N, m)
    edge = a["vlo"][-1] if sign > 0 else -a["vhi"][-1]
    f = edge + most + 1e-12 * (1 + np.abs(edge) + most)  # sign * output is at most this
    y = sign * a["y"]
    if kind in (kinds.HINGE, kinds.SQUARED_HINGE, kinds.LOGISTIC):
        z = np.where(y > 0, f, np.inf)
        if kind == kinds.LOGISTIC:
            return (cw[:, None] * np.logaddexp(0.0, -z)).sum(axis=0)
        return (cw[:, None] * np.maximum(0.0, t - z) ** (1 if kind == kinds.HINGE else 2)).sum(axis=0)
    r = np.maximum(0.0, y - f)  # residual at least
    if kind == kinds.MAX_ERROR:
        return cw[0] * r.max(axis=0)
    if kind == kinds.SSE:
        r = r**2
    elif kind == kinds.HUBER:
        r = np.where(r <= t, 0.5 * r**2, t * (r - 0.5 * t))
    elif kind == kinds.PINBALL:
        r = r * (t if sign > 0 else 1 - t)
    return (cw[:, None] * r).sum(axis=0)


def _target(n: dict[str, float], bound: float) -> float:
    """What the bound is checked to reach, in the engine's units."""
    return bound - TOLERANCE * max(abs(bound), abs(bound + n["constant"]))


def _consistent(n: dict[str, float], a: dict[str, np.ndarray]) -> None:
    """Symmetries may only be used where they are ones; data must be of the loss's kind."""
    if not (0 <= int(n["loss"]) < len(kinds.LOSSES) and 0 <= int(n["activation"]) < len(kinds.ACTIVATIONS)):
        raise _Invalid("unknown loss or activation")
    by, flipped, d = int(n["order_by"]), int(n["flipped"]), a["lo"].shape[1]
    if not (-1 <= by < d and -1 <= flipped < d) or n["sense"] not in (1.0, -1.0):
        raise _Invalid("a number is out of range")
    if flipped >= 0:
        odd = Activation(kinds.ACTIVATIONS[int(n["activation"])]).odd
        rest = [j for j in range(d) if j != flipped]
        if (
            not odd
            or np.any(a["lo"][:, rest] != -a["hi"][:, rest])
            or np.any(a["vlo"][:-1] != -a["vhi"][:-1])
            or np.any(a["lo"][:, flipped] != 0)
            or np.any(a["rows"][:, : -a["z"].shape[1]])
            or any(sorted(v[:c]) != sorted(-v[:c]) for v, c in zip(a["levels"], a["counts"].astype(int)))
        ):
            raise _Invalid("sign flips are no symmetry here")
    if by >= 0:
        hh, m = len(a["lo"]), a["z"].shape[1]
        for name in ("levels", "counts"):
            hidden, output = a[name][: hh * d].reshape(hh, -1), a[name][hh * d : hh * d + hh * m].reshape(hh, -1)
            if np.any(hidden != hidden[0]) or np.any(output != output[0]):
                raise _Invalid("the neurons are not alike")
        for row in a["rows"]:  # each constraint has to say the same of all neurons
            hidden, output = row[: hh * d].reshape(hh, -1), row[hh * d : hh * d + hh * m].reshape(hh, -1)
            if np.any(hidden != hidden[0]) or np.any(output != output[0]):
                raise _Invalid("the neurons are not alike")
        for name in ("lo", "hi", "p2", "p1", "copies", "signs"):
            if np.any(a[name] != a[name][0]):
                raise _Invalid("the neurons are not alike")
        for name in ("vlo", "vhi", "q2", "q1"):
            if np.any(a[name][:-1] != a[name][0]):
                raise _Invalid("the neurons are not alike")
    if np.any(a["cw"] <= 0) or any(np.any(a[k] < 0) for k in ("p2", "p1", "q2", "q1")):
        raise _Invalid("a weight or penalty is negative")
    m, kind = a["z"].shape[1], int(n["loss"])
    if kind in (kinds.CROSS_ENTROPY, kinds.CLASS_HINGE, kinds.CLASS_SQUARED):
        good = a["y"].shape == (len(a["x"]), 1) and bool(np.all(np.isin(a["y"], np.arange(m))))
    else:
        good = a["y"].shape == (len(a["x"]), m)
        if kind in (kinds.HINGE, kinds.SQUARED_HINGE, kinds.LOGISTIC):
            good = good and m == 1 and bool(np.all(np.abs(a["y"]) == 1))
    if not good:
        raise _Invalid("the targets do not fit the loss")


def _entropy(p: np.ndarray) -> np.ndarray:
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)


def conjugate(n: dict[str, float], a: dict[str, np.ndarray], u: np.ndarray) -> tuple[np.ndarray, float]:
    """(u moved into the domain of the conjugate, an upper bound of the conjugate's value there); u (N, m)."""
    kind, t, y, cw = int(n["loss"]), n["parameter"], a["y"], a["cw"][:, None]
    if kind == kinds.MAX_ERROR:
        total = float(np.abs(u).sum())
        u = u * min(1.0, a["cw"][0] / total * (1 - 1e-13)) if total > 0 else u
        terms = u * y
    elif kind in (kinds.CROSS_ENTROPY, kinds.CLASS_HINGE, kinds.CLASS_SQUARED):
        label = y[:, 0].astype(int)
        rows = np.arange(len(label))
        alpha = np.maximum(0.0, u / cw)
        alpha[rows, label] = 0.0
        if kind != kinds.CLASS_SQUARED:
            alpha /= np.maximum(1.0, alpha.sum(axis=1, keepdims=True) * (1 + 1e-14))
        rest = alpha.sum(axis=1)
        if kind == kinds.CROSS_ENTROPY:
            own = np.maximum(0.0, 1.0 - rest)
            terms = np.column_stack([_entropy(alpha), _entropy(own)])
        else:
            terms = np.column_stack([-t * rest, 0.25 * rest**2 if kind == kinds.CLASS_SQUARED else 0.0 * rest])
        alpha[rows, label] = -rest
        u, terms = cw * alpha, cw * terms
    else:
        s = u / cw
        if kind in (kinds.HINGE, kinds.SQUARED_HINGE, kinds.LOGISTIC):
            alpha = np.maximum(0.0, -y * s)
            if kind != kinds.SQUARED_HINGE:
                alpha = np.minimum(1.0, alpha)
            s = -y * alpha
            if kind == kinds.LOGISTIC:
                terms = np.column_stack([_entropy(alpha), _entropy(1.0 - alpha)])
            else:
                terms = np.column_stack([-t * alpha, 0.25 * alpha**2 if kind == kinds.SQUARED_HINGE else 0.0 * alpha])
        else:
            if kind == kinds.SAE:
                s = np.clip(s, -1.0, 1.0)
            elif kind == kinds.PINBALL:
                s = np.clip(s, -t, 1.0 - t)
            elif kind == kinds.HUBER:
                s = np.clip(s, -t, t)
            square = {kinds.SSE: 0.25, kinds.HUBER: 0.5}.get(kind, 0.0)
            terms = np.column_stack([square * s * s, s * y])
        u, terms = cw * s, cw * terms
    # 1 + log: rounding of an entropy is relative to its argument as well
    error = 64 * np.finfo(float).eps * (np.abs(terms).sum() + np.abs(u).sum())
    return u, float(terms.sum() + error)


def _tightened(a: dict[str, np.ndarray], lo: np.ndarray, hi: np.ndarray) -> bool:
    """Move a box (C,) inward, in place, to the levels and by the linear constraints; whether anything may be left.

    Sums are loosened by 1e-9 of their magnitudes, which is far more than their rounding errors.
    """
    for c in np.flatnonzero(a["counts"]):
        levels = a["levels"][c, : int(a["counts"][c])]
        inside = levels[(levels >= lo[c]) & (levels <= hi[c])]
        if not len(inside):
            return False
        lo[c], hi[c] = inside.min(), inside.max()
    for row, low, high in (*zip(a["rows"], a["low"], a["high"]),) * 3:
        ends = np.array([row * lo, row * hi])
        slack = 1e-9 * (1 + np.abs(ends).max(axis=0).sum())
        small, large = ends.min(axis=0), ends.max(axis=0)
        if small.sum() > high + slack or large.sum() < low - slack:
            return False
        for c in np.flatnonzero(row):
            most = high - (small.sum() - small[c]) + slack
            least = low - (large.sum() - large[c]) - slack
            x, y = (least / row[c], most / row[c]) if row[c] > 0 else (most / row[c], least / row[c])
            lo[c], hi[c] = max(lo[c], x), min(hi[c], y)
            if lo[c] > hi[c]:
                return False
    return True


def _multiplied(a: dict[str, np.ndarray], lam: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """For the constraints with output weights times lam: (coefficients (C,), what these are off by at most, an upper
    bound of the sum of lam times limits). Raises where a multiplier belongs to a limit that there is not."""
    chosen = _coupled(a, a["lo"].size)
    rows = a["rows"][chosen]
    limits = np.where(lam > 0, a["high"][chosen], a["low"][chosen])
    if not np.all(np.isfinite(lam)) or not np.all(np.isfinite(limits[lam != 0])):
        raise _Invalid("a multiplier has the wrong sign")
    terms = lam[:, None] * rows
    error = 4 * (len(lam) + 2) * np.finfo(float).eps
    sums = np.where(lam != 0, lam * np.where(lam != 0, limits, 0.0), 0.0)
    return terms.sum(axis=0), error * np.abs(terms).sum(axis=0), float(sums.sum() + error * np.abs(sums).sum())


def _boxes(n: dict[str, float], a: dict[str, np.ndarray], bound: float) -> None:
    from nnspec.engines.boxes import verify_intervals as iv

    hh, d = a["lo"].shape
    m = a["z"].shape[1]
    first = hh * d
    domain = [np.concatenate([a["lo"].ravel(), a["vlo"].ravel()]), np.concatenate([a["hi"].ravel(), a["vhi"].ravel()])]
    total = len(domain[0])
    root_of, boxes = a["boxes"][:, 0], np.ascontiguousarray(a["boxes"][:, 1:])
    for root, support in enumerate(a["supports"]):
        of_root = np.ascontiguousarray(boxes[root_of == root])
        lo, hi = (np.where(support > 0, end, 0.0) for end in domain)
        if not len(of_root) or not iv.tiles(of_root, lo, hi):
            raise _Invalid("the boxes do not cover the domain")
    target = _target(n, bound)
    for r, box in enumerate(boxes):
        low, high = box[:total].copy(), box[total:].copy()
        if not _tightened(a, low, high):
            continue
        lo, hi, vlo, vhi = (np.ascontiguousarray(part) for part in (
            low[:first].reshape(hh, d), high[:first].reshape(hh, d), low[first:].reshape(hh + 1, m),
            high[first:].reshape(hh + 1, m)))  # fmt: skip
        root = int(root_of[r])
        by = int(n["order_by"]) if _alike(a["supports"][root], hh, d) else -1
        if by >= 0 and np.any(hi[:-1, by] < lo[1:, by]):
            continue  # neurons out of order: an equal optimum lies elsewhere
        u = a["u"][r].reshape(-1, m)
        if not np.all(np.isfinite(u)):
            raise _Invalid(f"box {r} has no u")
        slopes, errors, limits = _multiplied(a, a["lam"][r])
        # the sum of the constraints times lam: where it does not hold anywhere, there is nothing
        reach = np.maximum(np.abs(low), np.abs(high))
        sums = np.append(np.minimum(slopes * low, slopes * high) - errors * reach, -limits)
        if math.fsum(sums) > 1e-12 * (np.abs(slopes * reach).sum() + abs(limits)):
            continue
        u, value = conjugate(n, a, u)
        constant = float(a["prices"][root]) - value - limits
        shift, shift_error = (t[first:].reshape(hh + 1, m) for t in (slopes, errors))
        for o in range(m):
            s = math.fsum([*u[:, o], shift[hh, o]])
            slack = 4 * np.finfo(float).eps * abs(s) + shift_error[hh, o]
            constant += min(iv.least_output(t, a["q2"][hh, o], a["q1"][hh, o], vlo[hh, o], vhi[hh, o])[0]
                            for t in (s - slack, s + slack))  # fmt: skip
        constant -= 16 * np.finfo(float).eps * abs(constant)
        holds, _ = iv.box_holds(
            int(n["activation"]), n["alpha"], a["copies"], a["signs"], np.ascontiguousarray(u), a["p2"], a["p1"],
            a["q2"], a["q1"], vlo, vhi, *(np.ascontiguousarray(t[:first].reshape(hh, d)) for t in (slopes, errors)),
            shift, shift_error, constant, target, lo, hi, BISECTIONS,
        )  # fmt: skip
        if not holds:
            raise _Invalid(f"box {r} is not shown to have the bound")


def _alike(support: np.ndarray, hh: int, d: int) -> bool:
    """Whether a support treats all neurons alike, so that their order may be chosen."""
    hidden, output = support[: hh * d].reshape(hh, d), support[hh * d :].reshape(hh + 1, -1)[:-1]
    return bool(np.all(hidden == hidden[0]) and np.all(output == output[0]))
