"""Checks a certificate of the `boxes` engine: that its boxes tile the domain, and that each box's u proves the bound.

Written apart from the search: interval arithmetic with outward rounding (verify_intervals.py), the loss's conjugate in
plain numpy, and the incumbent judged by the definitions in nnspec.problem. Any u gives a valid bound, so the file
needs to be trusted in nothing: a changed number either leaves a proof that holds or makes the check fail.
"""

from __future__ import annotations

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
from nnspec.problem import losses
from nnspec.problem.forward import activate
from nnspec.problem.network import Activation
from nnspec.problem.problem import Problem

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
            arrays = {k: f[k] for k in (*certificate.ARRAYS, "w", "z", "boxes", "u")}
        if head["format"] != certificate.FORMAT:
            raise _Invalid(f"unknown format {head['format']}")
        numbers = {k: float(head["numbers"][k]) for k in certificate.NUMBERS}
        head["numbers"], head["bound"] = numbers, float(head["bound"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as e:  # type: ignore[attr-defined]
        raise _Invalid(f"the file cannot be read as a certificate ({e})") from None
    n, d = arrays["x"].shape if arrays["x"].ndim == 2 else (0, 0)
    k, m = arrays["z"].shape if arrays["z"].ndim == 2 else (0, 0)
    shapes = {"x": (n, d), "cw": (n,), "w": (k - 1, d), "z": (k, m), "boxes": (len(arrays["boxes"]), 2 * (k - 1) * d),
              "u": (len(arrays["boxes"]), n * m), **{a: (k - 1, d) for a in ("p2", "p1", "lo", "hi")},
              **{a: (k, m) for a in ("q2", "q1", "vlo", "vhi")}}  # fmt: skip
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise _Invalid(f"the array {name} has the wrong shape")
    for name, a in arrays.items():
        if a.dtype.kind != "f" or (name != "u" and not np.all(np.isfinite(a))):
            raise _Invalid(f"the array {name} contains what is no finite number")
    if not (math.isfinite(head["bound"]) and all(map(math.isfinite, numbers.values()))):
        raise _Invalid("a number is not finite")
    return head, {k: np.ascontiguousarray(a, dtype=float) for k, a in arrays.items()}


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
    kind = int(n["loss"])
    h = activate(Activation(kinds.ACTIVATIONS[int(n["activation"])], n["alpha"]), a["x"] @ w.T)
    outputs = h @ z[:-1] + z[-1]
    name = {"class_hinge": "hinge", "class_squared_hinge": "squared_hinge"}.get(kinds.LOSSES[kind], kinds.LOSSES[kind])
    t = n["parameter"]
    if name == "max_error":
        value = a["cw"][0] * float(np.abs(outputs - a["y"]).max())
    else:
        value = losses.evaluate(name, outputs, a["y"], a["cw"], delta=t, q=t, margin=t)
    value += float((a["p2"] * w**2 + a["p1"] * np.abs(w)).sum() + (a["q2"] * z**2 + a["q1"] * np.abs(z)).sum())
    return n["sense"] * (value + n["constant"])


def _same_problem(n: dict[str, float], a: dict[str, np.ndarray], problem: Problem, target: float) -> None:
    """The problem's arrays are those of the certificate, and no point outside the domain covered is below `target`."""
    model = form.read(problem)
    if isinstance(model, str):
        raise _Invalid(f"the problem is not one of this engine: {model}")
    for name in certificate.NUMBERS:
        if float(getattr(model, name)) != n[name]:
            raise _Invalid(f"the certificate belongs to another problem ({name} differs)")
    for name in ("x", "y", "cw", "p2", "p1", "q2", "q1"):
        if not np.array_equal(getattr(model, name), a[name]):
            raise _Invalid(f"the certificate belongs to another problem ({name} differs)")
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


def _losses_beyond(n: dict[str, float], a: dict[str, np.ndarray], sign: float) -> np.ndarray:
    """For each output (m,) a lower bound of the loss where its bias lies below the range covered (sign 1) or above
    (-1), and all other weights in theirs: then the output is at most the edge plus what the neurons contribute."""
    from nnspec.engines.boxes import verify_intervals as iv

    kind, t, cw = int(n["loss"]), n["parameter"], a["cw"]
    bound = np.zeros(a["vlo"].shape[1])
    if kind in (kinds.CROSS_ENTROPY, kinds.CLASS_HINGE, kinds.CLASS_SQUARED):
        return bound  # a low output does not show in these losses while the others may fall with it
    middle, radius = 0.5 * (a["lo"] + a["hi"]), 0.5 * (a["hi"] - a["lo"])
    centre, reach = a["x"] @ middle.T, np.abs(a["x"]) @ radius.T
    reach += 1e-12 * (1 + np.abs(a["x"]) @ (np.abs(middle) + radius).T)
    largest = np.array([[max(map(abs, iv.value(int(n["activation"]), n["alpha"], c - r, c + r))) for c, r in zip(*row)]
                        for row in zip(centre, reach)])  # fmt: skip
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
    by, flipped, d = int(n["order_by"]), int(n["flipped"]), a["x"].shape[1]
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
        ):
            raise _Invalid("sign flips are no symmetry here")
    if by >= 0:
        for name in ("lo", "hi", "p2", "p1"):
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


def _boxes(n: dict[str, float], a: dict[str, np.ndarray], bound: float) -> None:
    from nnspec.engines.boxes import verify_intervals as iv

    hh, d = a["lo"].shape
    m = a["z"].shape[1]
    boxes = a["boxes"]
    if not iv.tiles(boxes, a["lo"].ravel(), a["hi"].ravel()):
        raise _Invalid("the boxes do not cover the domain")
    target = _target(n, bound)
    by = int(n["order_by"])
    for r in range(len(boxes)):
        lo, hi = (np.ascontiguousarray(t.reshape(hh, d)) for t in (boxes[r, : hh * d], boxes[r, hh * d :]))
        if by >= 0 and np.any(hi[:-1, by] < lo[1:, by]):
            continue  # neurons out of order: an equal optimum lies elsewhere
        u = a["u"][r].reshape(-1, m)
        if not np.all(np.isfinite(u)):
            raise _Invalid(f"box {r} has no u")
        u, value = conjugate(n, a, u)
        constant = -value
        for o in range(m):
            s = math.fsum(u[:, o])
            slack = 4 * np.finfo(float).eps * abs(s)
            constant += min(iv.least_output(t, a["q2"][hh, o], a["q1"][hh, o], a["vlo"][hh, o], a["vhi"][hh, o])[0]
                            for t in (s - slack, s + slack))  # fmt: skip
        constant -= 16 * np.finfo(float).eps * abs(constant)
        holds, _ = iv.box_holds(
            int(n["activation"]), n["alpha"], a["x"], np.ascontiguousarray(u), a["p2"], a["p1"], a["q2"], a["q1"],
            a["vlo"], a["vhi"], constant, target, lo, hi, BISECTIONS,
        )  # fmt: skip
        if not holds:
            raise _Invalid(f"box {r} is not shown to have the bound")
