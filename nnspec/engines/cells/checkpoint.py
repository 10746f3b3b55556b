"""The state of an unfinished search as a file, and back.

A search stops between two visits of subtrees, so its state is small: the order of the samples, the bounds proven for
its suffixes, the open subtrees of the current one, and the incumbents. The file belongs to one problem: it carries a
digest of the normalised arrays and is refused for others.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from nnspec.engines.cells.driver import State
from nnspec.engines.cells.instance import Subtree
from nnspec.engines.cells.normal import Normal


class CheckpointError(Exception):
    """The file cannot be read or belongs to another problem."""


def fingerprint(normal: Normal, gap: float) -> str:
    """Digest of everything that the proven values depend on."""
    h = hashlib.sha256(repr((normal.sign_mask, normal.symmetric, normal.flip, normal.largest, gap)).encode())
    for a in (normal.features, normal.cuts, normal.constant, normal.y, normal.lo, normal.hi, normal.box, normal.box_rhs,
              normal.output_box):  # fmt: skip
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


def save(path: str | Path, state: State, normal: Normal, gap: float) -> None:
    """Write the state; the file is replaced at once or not at all."""
    none = np.zeros(0)
    arrays: dict[str, np.ndarray] = {
        "fingerprint": np.array(fingerprint(normal, gap)),
        "order": np.array(state.order, dtype=np.int64), "proven": np.array(state.proven),
        "theta": none if state.theta is None else state.theta, "signs": np.array([state.signs, state.best_signs]),
        "best": none if state.best is None else state.best, "floats": np.array([state.best_loss, state.floor]),
        "nodes": np.array(state.nodes), "proofs": np.array(state.proofs).reshape(-1, 2),
        "begun": np.array(state.open is not None),
        "bounds": np.array([s.bound for s in state.open or []]),
        "depths": np.array([len(s.prefix) for s in state.open or []], dtype=np.int64),
        "prefixes": np.concatenate([s.prefix.reshape(-1) for s in state.open]) if state.open else none.astype(np.int8),
        "orders": np.concatenate([s.order for s in state.open]) if state.open else none.astype(np.int64),
    }  # fmt: skip
    temporary = Path(f"{path}.part")
    with temporary.open("wb") as f:
        np.savez_compressed(f, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def load(path: str | Path, normal: Normal, neurons: int, gap: float) -> State:
    """The state that `save` wrote. Raises CheckpointError."""
    try:
        with np.load(path, allow_pickle=False) as z:
            a = {k: z[k] for k in z.files}
        if str(a["fingerprint"]) != fingerprint(normal, gap):
            raise CheckpointError(f"{path} is a checkpoint of another problem or gap")
        subtrees, start, at = [], 0, 0
        for depth, bound in zip(a["depths"], a["bounds"], strict=True):
            end = start + int(depth) * neurons
            prefix = a["prefixes"][start:end].reshape(int(depth), neurons).astype(np.int8)
            subtrees.append(Subtree(prefix, float(bound), a["orders"][at : at + int(depth)].astype(np.int64)))
            start, at = end, at + int(depth)
        return State(
            [int(i) for i in a["order"]], [float(v) for v in a["proven"]], a["theta"] if a["theta"].size else None,
            int(a["signs"][0]), subtrees if bool(a["begun"]) else None, float(a["floats"][1]),
            a["best"] if a["best"].size else None, int(a["signs"][1]), float(a["floats"][0]), int(a["nodes"]),
            [(int(m), float(v)) for m, v in a["proofs"]],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError) as e:
        raise CheckpointError(f"{path} is no checkpoint: {e}") from None
