"""What a solve gives back: the trained networks, the values of the variables, and how good they are proven to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnspec.engines.interface import Outcome
from nnspec.errors import Diagnostic, UsageError
from nnspec.problem.forward import predict
from nnspec.problem.network import Network
from nnspec.problem.problem import Problem
from nnspec.status import Status
from nnspec.tolerances import gap


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network whose weights all have values. Inputs and outputs are in the units of the data."""

    network: Network

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """Arrays by layer name: {"h": {"weights": (outputs, inputs), "bias": (outputs,)}}."""
        return {
            layer.name: {
                kind: np.asarray(p.value)
                for kind, p in (("weights", layer.weights), ("bias", layer.bias))
                if p is not None
            }
            for layer in self.network.layers
            if layer.parameters
        }

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Outputs (N, m) for inputs (N, d), both in raw units, in float64. One sample (d,) gives (m,)."""
        x = np.asarray(x, dtype=float)
        single = x.ndim == 1 and self.network.input_size != 1
        rows = x.reshape(1 if single else len(x), -1)
        if rows.shape[1] != self.network.input_size:
            raise UsageError(Diagnostic(
                "NNS320", f"network {self.name} takes {self.network.input_size} inputs and got {rows.shape[1]}",
                help="give one sample a row",
            ))  # fmt: skip
        y = predict(self.network, {}, rows)
        return y[0] if single else y

    def save(self, path: str | Path, dtype: str = "float64") -> None:
        """Write the network to a file; the ending says the format (.onnx). `dtype` is float64 or float32."""
        from nnspec.formats import write_network

        write_network(self.network, path, dtype)


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a solve.

    `objective` is the value recomputed from the networks as they are written (float64), in the units and the sense of
    the spec; `claimed` is what the engine said; `objective32` is the value of the float32 files (None if there are
    none). `bound` is proven by the engine: no solution is better.
    """

    problem: Problem
    outcome: Outcome
    status: Status
    objective: float | None
    objective32: float | None = None
    networks: Mapping[str, TrainedNetwork] = field(default_factory=dict)
    variables: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def bound(self) -> float | None:
        return self.outcome.bound

    @property
    def gap(self) -> float | None:
        """Relative gap |objective - bound| / max(1e-9, |objective|)."""
        return gap(self.objective, self.bound)

    @property
    def claimed(self) -> float | None:
        return self.outcome.objective

    @property
    def seconds(self) -> float:
        return self.outcome.seconds

    @property
    def found(self) -> bool:
        """Whether there is a solution, proven optimal or not."""
        return self.outcome.point is not None

    def network(self, name: str) -> TrainedNetwork:
        """The trained network of this name. Raises UsageError if there is none."""
        if name not in self.networks:
            why = (
                f"the spec has {', '.join(self.problem.networks) or 'no networks'}" if self.found else "none was found"
            )
            raise UsageError(Diagnostic("NNS320", f"there is no trained network {name!r}: {why}"))
        return self.networks[name]

    def __repr__(self) -> str:
        return (
            f"Solution({self.problem.name}: {self.status}, objective={self.objective}, bound={self.bound}, "
            f"networks={list(self.networks)}, variables={len(self.variables)})"
        )
