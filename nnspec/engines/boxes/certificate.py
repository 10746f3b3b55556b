"""The evidence of a finished solve in one compressed file: the problem's arrays, the incumbent, and a tiling of the
roots (see search.py) by boxes, each with a dual point u that proves its bound, and multipliers lam of the constraints
that output weights take part in. `verify` checks it without using the code that found it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from nnspec.engines.boxes.model import Model
from nnspec.problem.problem import Problem

FORMAT = 3
ARRAYS = ("x", "y", "cw", "copies", "signs", "p2", "p1", "q2", "q1", "lo", "hi", "vlo", "vhi", "levels", "counts",
          "rows", "low", "high", "supports", "prices")  # fmt: skip
NUMBERS = ("sense", "constant", "activation", "alpha", "loss", "parameter", "order_by", "flipped")


def digest(model: Model, *more: float) -> str:
    """sha256 of everything that defines the mathematical problem."""
    h = hashlib.sha256(json.dumps([FORMAT, *more, *(float(getattr(model, k)) for k in NUMBERS)]).encode())
    for name in ARRAYS:
        a = np.ascontiguousarray(getattr(model, name), dtype=float)
        h.update(f"{name}{a.shape}".encode() + a.tobytes())
    return h.hexdigest()


def write(path: Path, problem: Problem, model: Model, w: np.ndarray, z: np.ndarray, bound: float,
          boxes: list[tuple[np.ndarray, np.ndarray]]) -> None:  # fmt: skip
    """Write the certificate; `model` is the one with finite boxes, `bound` in the engine's units."""
    assert {f.name for f in fields(Model)} == {*ARRAYS, *NUMBERS, "hidden", "output", "ties"}
    numbers = {k: float(getattr(model, k)) for k in NUMBERS}
    head = {
        "format": FORMAT,
        "problem": problem.name,
        "hashes": dict(problem.hashes),
        "bound": bound,
        "numbers": numbers,
    }
    size = len(model.x) * model.vlo.shape[1]
    points = np.vstack([u for _, u in boxes])
    with path.open("wb") as f:
        np.savez_compressed(
            f, head=np.array(json.dumps(head)), w=w, z=z, boxes=np.vstack([b for b, _ in boxes]),
            u=points[:, :size], lam=points[:, size:], **{k: getattr(model, k) for k in ARRAYS},
        )  # fmt: skip
