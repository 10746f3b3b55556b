"""The state of an unfinished solve as a file, and back.

A search stops between two visits of subtrees, so its state is small: the order of the samples, the bounds proven for
its suffixes, the open subtrees of the current one, and the incumbents. A solve may consist of several searches, its
parts. The file belongs to one problem: it carries a digest of it and is refused for others. Another one, of its
content, tells a file that was changed or cut off before anything is read from it.

The incumbent of all is kept too, even where no part has found it: open subtrees are those below it, and what was cut at
it is proven for networks below it alone.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import numpy as np

from nnspec.engines.cells.driver import State
from nnspec.engines.cells.instance import Subtree
from nnspec.engines.cells.model import CellProblem
from nnspec.errors import Diagnostic, UsageError
from nnspec.problem.problem import Point, Problem

VERSION = 4
DIGEST = 32
"""Bytes at the end of a file: the SHA-256 of those before."""


class CheckpointError(UsageError):
    """The file cannot be read or belongs to another problem."""

    def __init__(self, message: str) -> None:
        super().__init__(Diagnostic("NNS171", message, help="remove it or give another name"))


def fingerprint(cells: CellProblem, gap: float) -> str:
    """Digest of everything that the proven values depend on."""
    h = hashlib.sha256(repr((VERSION, gap)).encode())

    def feed(value: object) -> None:
        if isinstance(value, np.ndarray):
            h.update(repr((value.shape, value.dtype.str)).encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, tuple):
            h.update(repr(len(value)).encode())
            for v in value:
                feed(v)
        elif is_dataclass(value):
            h.update(type(value).__name__.encode())
            for f in fields(value):
                if f.name not in ("network", "hidden", "output") or not isinstance(value, CellProblem):  # names
                    feed(getattr(value, f.name))
        else:
            h.update(repr(value).encode())

    feed(cells)
    return h.hexdigest()


@dataclass(frozen=True)
class Saved:
    """The states of a solve's parts and their proven bounds; the incumbent of all, as the values of its free
    parameters; and what else the kind of solve needs."""

    states: Sequence[State] = ()
    bounds: Sequence[float] = ()
    point: tuple[np.ndarray, ...] | None = None
    more: Mapping[str, np.ndarray] = field(default_factory=dict)

    def incumbent(self, problem: Problem) -> Point | None:
        if self.point is None:
            return None
        return Point({p.name: a for p, a in zip(problem.free_parameters(), self.point, strict=True)}, {})


def values_of(problem: Problem, point: Point | None) -> tuple[np.ndarray, ...] | None:
    """A network as a file holds it, where names do not matter."""
    if point is None:
        return None
    return tuple(np.asarray(point.parameters[p.name], dtype=float) for p in problem.free_parameters())


def save(path: str | Path, key: str, saved: Saved) -> None:
    """Write what a later solve needs to go on; the file is replaced at once or not at all."""
    arrays: dict[str, np.ndarray] = {"fingerprint": np.array(key), "bounds": np.array(saved.bounds, dtype=float)}
    for i, s in enumerate(saved.states):
        arrays |= {f"{i}.{name}": a for name, a in _arrays(s).items()}
    arrays |= {f"point.{i}": a for i, a in enumerate(saved.point or ())}
    arrays |= {f"more.{name}": np.asarray(a) for name, a in saved.more.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    temporary = Path(f"{path}.part")
    temporary.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    os.replace(temporary, path)


def load(path: str | Path, key: str) -> Saved:
    """What `save` wrote. Raises CheckpointError."""
    try:
        content = Path(path).read_bytes()
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read") from e
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path} is no checkpoint of the cells engine, or it was changed or cut off")
    with np.load(io.BytesIO(body), allow_pickle=False) as z:
        a = {k: z[k] for k in z.files}
    if str(a["fingerprint"]) != key:
        raise CheckpointError(f"{path} is a checkpoint of another problem or gap")
    bounds = [float(b) for b in a["bounds"]]
    states = [_state(_group(a, str(i))) for i in range(len(bounds))]
    point, more = _group(a, "point"), _group(a, "more")
    return Saved(states, bounds, tuple(point[str(i)] for i in range(len(point))) or None, more)


def _group(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {k.split(".", 1)[1]: a for k, a in arrays.items() if k.startswith(f"{name}.")}


def _arrays(s: State) -> dict[str, np.ndarray]:
    none = np.zeros(0)
    left = s.open or []
    return {
        "order": np.array(s.order, dtype=np.int64), "proven": np.array(s.proven),
        "theta": none if s.theta is None else s.theta,
        "best": none if s.best is None else s.best, "floats": np.array([s.best_loss, s.floor]),
        "nodes": np.array(s.nodes), "proofs": np.array(s.proofs).reshape(-1, 2), "begun": np.array(s.open is not None),
        "left": np.array([x.bound for x in left]), "depths": np.array([len(x.prefix) for x in left], dtype=np.int64),
        "columns": np.array(left[0].prefix.shape[1] if left else 1),
        "prefixes": np.concatenate([x.prefix.reshape(-1) for x in left]) if left else none,
    }  # fmt: skip


def _state(a: dict[str, np.ndarray]) -> State:
    subtrees = []
    columns = int(a["columns"])
    for depth, end, bound in zip(a["depths"], np.cumsum(a["depths"]), a["left"], strict=True):
        prefix = a["prefixes"][(end - depth) * columns : end * columns].reshape(int(depth), columns)
        subtrees.append(Subtree(prefix.copy(), float(bound)))
    return State(
        [int(i) for i in a["order"]], [float(v) for v in a["proven"]], a["theta"] if a["theta"].size else None,
        subtrees if bool(a["begun"]) else None, float(a["floats"][1]),
        a["best"] if a["best"].size else None, float(a["floats"][0]), int(a["nodes"]),
        [(int(m), float(v)) for m, v in a["proofs"]],
    )  # fmt: skip
