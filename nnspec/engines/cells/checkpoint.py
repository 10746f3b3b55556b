"""The state of an unfinished solve as a file, and back.

A search stops between two visits of subtrees, so its state is small: the order of the samples, the bounds proven for
its suffixes, the open subtrees of the current one, and the incumbents. A solve may consist of several searches, its
parts. The file belongs to one problem: it carries a digest of it and is refused for others.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np

from nnspec.engines.cells.driver import State
from nnspec.engines.cells.instance import Subtree
from nnspec.engines.cells.model import CellProblem
from nnspec.errors import Diagnostic, UsageError

VERSION = 2


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


def save(path: str | Path, key: str, states: Sequence[State], bounds: Sequence[float]) -> None:
    """Write the states of a solve's parts and their proven bounds; the file is replaced at once or not at all."""
    arrays: dict[str, np.ndarray] = {"fingerprint": np.array(key), "bounds": np.array(bounds)}
    for i, s in enumerate(states):
        arrays |= {f"{i}.{name}": a for name, a in _arrays(s).items()}
    temporary = Path(f"{path}.part")
    with temporary.open("wb") as f:
        np.savez_compressed(f, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def load(path: str | Path, key: str) -> tuple[list[State], list[float]]:
    """What `save` wrote. Raises CheckpointError."""
    try:
        with np.load(path, allow_pickle=False) as z:
            a = {k: z[k] for k in z.files}
        if str(a["fingerprint"]) != key:
            raise CheckpointError(f"{path} is a checkpoint of another problem or gap")
        bounds = [float(b) for b in a["bounds"]]
        parts = [{k.split(".", 1)[1]: v for k, v in a.items() if k.startswith(f"{i}.")} for i in range(len(bounds))]
        return [_state(part) for part in parts], bounds
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise CheckpointError(f"{path} cannot be read as a checkpoint of the cells engine") from e


def _arrays(s: State) -> dict[str, np.ndarray]:
    none = np.zeros(0)
    left = s.open or []
    return {
        "order": np.array(s.order, dtype=np.int64), "proven": np.array(s.proven),
        "theta": none if s.theta is None else s.theta, "signs": np.array([s.signs, s.best_signs]),
        "best": none if s.best is None else s.best, "floats": np.array([s.best_loss, s.floor]),
        "nodes": np.array(s.nodes), "proofs": np.array(s.proofs).reshape(-1, 2), "begun": np.array(s.open is not None),
        "left": np.array([x.bound for x in left]), "depths": np.array([len(x.prefix) for x in left], dtype=np.int64),
        "columns": np.array(left[0].prefix.shape[1] if left else 1),
        "prefixes": np.concatenate([x.prefix.reshape(-1) for x in left]) if left else none,
        "ordered": np.array([len(x.order) for x in left], dtype=np.int64),
        "orders": np.concatenate([x.order for x in left]) if left else none.astype(np.int64),
    }  # fmt: skip


def _state(a: dict[str, np.ndarray]) -> State:
    subtrees = []
    columns = int(a["columns"])
    ends, order_ends = np.cumsum(a["depths"]), np.cumsum(a["ordered"])
    for depth, end, ordered, last, bound in zip(a["depths"], ends, a["ordered"], order_ends, a["left"], strict=True):
        prefix = a["prefixes"][(end - depth) * columns : end * columns].reshape(int(depth), columns)
        subtrees.append(Subtree(prefix.copy(), float(bound), a["orders"][last - ordered : last].copy()))
    return State(
        [int(i) for i in a["order"]], [float(v) for v in a["proven"]], a["theta"] if a["theta"].size else None,
        int(a["signs"][0]), subtrees if bool(a["begun"]) else None, float(a["floats"][1]),
        a["best"] if a["best"].size else None, int(a["signs"][1]), float(a["floats"][0]), int(a["nodes"]),
        [(int(m), float(v)) for m, v in a["proofs"]],
    )  # fmt: skip
