"""Running ONNX files in onnxruntime on the CPU: what the file itself computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnspec.formats.errors import missing, unreadable


def session(path: Path | str, model: bytes | None = None) -> Any:
    """An inference session on one thread (`model`: the serialised file, if it is already in memory)."""
    try:
        import onnxruntime
    except ImportError:
        raise missing("onnxruntime", "running a network file") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures come as exceptions
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(path) if model is None else model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        raise unreadable(path, f"onnxruntime cannot load it: {_first_line(error)}") from None


def run_session(running: Any, x: np.ndarray, path: Path | str = "") -> np.ndarray:
    """Outputs (N, m) for raw inputs x (N, d). Several inputs take columns in order; several outputs are joined."""
    x = np.asarray(x, dtype=float).reshape(len(x), -1)
    inputs = running.get_inputs()
    shapes = [tuple(i.shape[1:]) for i in inputs]
    batch = inputs[0].shape[0]
    step = batch if isinstance(batch, int) and batch > 0 else max(1, len(x))
    parts = []
    for first in range(0, len(x), step):
        rows = x[first : first + step]
        short = step - len(rows) if isinstance(batch, int) and batch > 0 else 0
        if short:  # a file for a fixed number of rows gets the last one filled up
            rows = np.concatenate([rows, np.repeat(rows[-1:], short, axis=0)])
        feed, start = {}, 0
        for i, shape in zip(inputs, shapes):
            size = int(np.prod([s if isinstance(s, int) else 1 for s in shape], dtype=int))
            kind = np.float64 if i.type == "tensor(double)" else np.float32
            feed[i.name] = rows[:, start : start + size].reshape(len(rows), *shape).astype(kind)
            start += size
        try:
            results = running.run(None, feed)
        except Exception as error:
            raise unreadable(path, f"onnxruntime cannot run it: {_first_line(error)}") from None
        joined = np.concatenate([np.asarray(r, dtype=float).reshape(len(rows), -1) for r in results], axis=1)
        parts.append(joined[: len(rows) - short])
    return np.concatenate(parts) if parts else np.zeros((0, 0))


def run(path: Path | str, x: np.ndarray) -> np.ndarray:
    """Outputs (N, m) of the file for raw inputs x (N, d)."""
    return run_session(session(path), x, path)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
