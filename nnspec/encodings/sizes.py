"""Sizes of networks: l0, neurons, inputs, l1 and l2, by the definitions of `nnspec.problem.evaluate`.

For what is minimised or bounded from above (direction +1) an indicator may overcount, so u = 0 => w = 0 is all that is
needed. In the other directions u = 1 must mean a nonzero weight: |w| >= SIGN_MARGIN, with a binary for the sign.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnspec.encodings.activations import activation
from nnspec.encodings.context import Context
from nnspec.encodings.l0 import nonzero_indicators
from nnspec.encodings.norm import sum_of_norms
from nnspec.encodings.parameters import Parameters
from nnspec.encodings.squares import weighted_squares
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import consumers
from nnspec.problem.network import Activation, Layer, Network, Parameter
from nnspec.program import Affine, Quadratic, concatenate


class Sizes:
    """The encoder of size functions; indicators are shared between all that count the same weights."""

    def __init__(self, context: Context, parameters: Parameters):
        self.context = context
        self.parameters = parameters
        self._indicators: dict[tuple[str, bool], Affine] = {}
        self._units: dict[tuple[str, str, bool], Affine] = {}

    def value(self, e: ex.Size, direction: int) -> Quadratic:
        network = self.context.problem.networks[e.network]
        match e.kind:
            case "l0":
                return Quadratic.of(self.l0(network, e.layer, e.tensor, e.neuron, direction))
            case "neurons":
                hidden = [x for x in network.layers if x.parameters and x.name not in network.outputs]
                chosen = hidden if e.layer is None else [network[e.layer]]
                return Quadratic.of(self._sum([self.units(network, x, direction) for x in chosen]))
            case "inputs":
                return Quadratic.of(self._sum([self.units(network, x, direction) for x in network.inputs]))
            case "l1" | "l2":
                return self._norm(e, network, direction)
            case "norm":
                return Quadratic.of(self._sum_of_norms(e, network, direction))
        raise ValueError(f"unknown size {e.kind}")

    @staticmethod
    def _sum(parts: list[Affine]) -> Affine:
        return concatenate([p.reshape(-1) for p in parts]).sum() if parts else Affine.of(0.0)

    def l0(self, network: Network, layer: str | None, tensor: str | None, neuron: int | None, direction: int) -> Affine:
        """The number of nonzero weights and biases."""
        parts = []
        for item in network.layers:
            if layer is None or item.name == layer:
                for role, p in (("weights", item.weights), ("bias", item.bias)):
                    if p is not None and tensor in (None, role):
                        u = self.indicators(p, direction)
                        parts.append(u if neuron is None else u[neuron])
        return self._sum(parts)

    def indicators(self, p: Parameter, direction: int) -> Affine:
        """For each entry of a tensor whether it is nonzero: constants and binaries."""
        exact = direction <= 0
        if (p.name, True) in self._indicators:
            return self._indicators[p.name, True]
        if (p.name, exact) not in self._indicators:
            self._indicators[p.name, exact] = nonzero_indicators(self.context, self.parameters, p, exact)
        return self._indicators[p.name, exact]

    def nonzero(self) -> dict[str, Affine]:
        """Every tensor whose nonzeros are counted, with its indicators."""
        return {name: u for (name, _), u in sorted(self._indicators.items(), key=lambda item: item[0][1])}

    def units(self, network: Network, layer: Layer, direction: int) -> Affine:
        """For each unit of a layer, whether a weight that reads it is nonzero: (units,)."""
        exact = direction <= 0
        key = (network.name, layer.name, exact)
        if key in self._units:
            return self._units[key]
        readers: list[Affine] = []
        for consumer, offset in consumers(network, layer.name):
            assert consumer.weights is not None
            readers.append(self.indicators(consumer.weights, direction)[:, offset : offset + layer.size])
        if not readers:
            return self._units.setdefault(key, Affine.of(np.ones(layer.size)))
        reads = concatenate(readers, axis=0)  # (readers, units)
        program = self.context.program
        n = program.add_variables(f"{network.name}.{layer.name}.in use", (layer.size,), kind="binary", span=layer.span,
                                  labels=([str(i) for i in range(layer.size)],),
                                  complete=lambda x: np.any(reads.value(x) > 0.5, axis=0))  # fmt: skip
        program.add_linear(n.reshape(1, -1) - reads, 0.0, np.inf, f"{network.name}.{layer.name} in use", layer.span)
        if exact:
            program.add_linear(
                n - reads.sum(axis=0), -np.inf, 0.0, f"{network.name}.{layer.name} not in use", layer.span
            )
        return self._units.setdefault(key, n)

    def _tensors(self, e: ex.Size, network: Network) -> Iterator[tuple[Parameter, Affine]]:
        for item in network.layers:
            if e.layer is not None and item.name != e.layer:
                continue
            chosen = [("weights", item.weights)]
            if e.biases or e.tensor == "bias":
                chosen.append(("bias", item.bias))
            for role, p in chosen:
                if p is not None and e.tensor in (None, role):
                    w = self.parameters.expression(p)
                    yield p, w if e.neuron is None else w[e.neuron]

    def _sum_of_norms(self, e: ex.Size, network: Network, direction: int) -> Affine:
        parts = []
        for item in network.layers:
            if item.weights is None or e.layer not in (None, item.name):
                continue
            rows = self.parameters.expression(item.weights).reshape(item.weights.shape[0], -1)
            if e.biases and item.bias is not None:
                rows = concatenate([rows, self.parameters.expression(item.bias).reshape(-1, 1)], axis=1)
            parts.append(sum_of_norms(self.context, rows, direction, f"{network.name}.{item.name}", e.span))
        return self._sum(parts)

    def _norm(self, e: ex.Size, network: Network, direction: int) -> Quadratic:
        tensors = list(self._tensors(e, network))
        if not tensors:
            return Quadratic.of(0.0)
        w = concatenate([t.reshape(-1) for _, t in tensors])
        path = f"{e.kind}({e.network}{'.' + e.layer if e.layer else ''})"
        if e.kind == "l2":
            return weighted_squares(self.context, w, np.ones(w.size), direction, path, e.span)
        bounds = self.context.interval(w)
        if direction <= 0:
            return Quadratic.of(activation(self.context, Activation("abs"), w, bounds, path, e.span).sum())
        decided = (bounds.lo >= 0) | (bounds.hi <= 0)
        signed = np.where(bounds.lo >= 0, 1.0, -1.0)
        result = (w * (signed * decided)).sum()
        k = np.flatnonzero(~decided)
        if not len(k):
            return Quadratic.of(result)
        names = [f"{p.name}[{','.join(map(str, i))}]" for p, t in tensors for i in np.ndindex(*t.shape)]
        part = w[k]
        t = self.context.program.add_variables(
            path, (len(k),), 0.0, bounds.magnitude[k], labels=([names[j] for j in k],), span=e.span,
            complete=lambda x: np.abs(part.value(x)),
        )  # fmt: skip
        for sign in (1.0, -1.0):
            self.context.program.add_linear(t - part * sign, 0.0, np.inf, path, e.span)
        return Quadratic.of(result + t.sum())
