"""Objectives and constraints in exact arithmetic: values are forms, comparisons and logic are literals."""

from __future__ import annotations

import math

import numpy as np

from nnspec.engines.cpsat.exact import Builder, Form, NotExact, rational, total
from nnspec.engines.cpsat.losses import loss
from nnspec.engines.cpsat.network import Forms, Weights, constants, forward, unsupported
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import consumers
from nnspec.problem.network import Layer, Network
from nnspec.problem.problem import Problem, Variable
from nnspec.reductions.structure import covered


class Expressions:
    """Turns the expressions of one problem into forms of one builder."""

    def __init__(self, problem: Problem, builder: Builder):
        self.problem, self.builder = problem, builder
        for network in problem.networks.values():
            reason = unsupported(network)
            if reason is not None:
                raise NotExact(reason)
        self.weights = Weights(problem, builder)
        self.variables = {v.name: self._variable(v) for v in problem.variables.values()}
        self._outputs: dict[tuple[str, str], Forms] = {}

    def _variable(self, v: Variable) -> Form:
        lo, hi = (max(v.lo, 0.0), min(v.hi, 1.0)) if v.kind == "binary" else (v.lo, v.hi)
        if v.kind == "real":
            raise NotExact(f"the variable {v.name} is real")
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise NotExact(f"the variable {v.name} has no finite bounds")
        if math.ceil(lo) > math.floor(hi):
            raise NotExact(f"there is no integer in the range of {v.name}")
        return self.builder.integer_range(math.ceil(lo), math.floor(hi))

    # -- values ------------------------------------------------------------------------------------------------------

    def value(self, e: ex.Expression) -> Form:
        match e:
            case ex.Constant(value=v):
                return Form.of(rational(v, "the number"))
            case ex.VariableRef(name=name):
                return self.variables[name]
            case ex.ParameterRef(parameter=name, index=index):
                form = self.weights.forms[name][index]
                assert isinstance(form, Form)
                return form
            case ex.Sum(terms=terms):
                return total([self.value(t) for t in terms])
            case ex.Product(factors=factors):
                result = Form.of(1)
                for factor in factors:
                    result = self.builder.product(result, self.value(factor))
                return result
            case ex.Quotient(numerator=a, denominator=b):
                below = self.value(b)
                if not below.is_constant or below.constant == 0:
                    raise NotExact("a quotient by a decision is not rational with a small denominator")
                return self.value(a).times(1 / below.constant)
            case ex.Power(base=a, exponent=k):
                return self._power(self.value(a), k)
            case ex.Function(name="abs", arguments=(a,)):
                return self.builder.magnitude(self.value(a))
            case ex.Function(name="max" | "min" as name, arguments=arguments):
                combine = self.builder.maximum if name == "max" else self.builder.minimum
                return combine([self.value(a) for a in arguments])
            case ex.Function(name=name):
                raise NotExact(f"{name} has irrational values")
            case ex.NetworkOutput(network=name, arguments=arguments, output=k):
                return self._decided(self.problem.networks[name], [self.value(a) for a in arguments], k)
            case ex.Loss(network=name, data=data):
                return loss(self.builder, e, self._on_data(name, data), self.problem.data[data])
            case ex.Size():
                return self._size(e)
        raise NotExact(f"{type(e).__name__} is not set up for exact arithmetic")

    def _power(self, base: Form, k: float) -> Form:
        if k != int(k) or k < 0:
            raise NotExact(f"a power of {k:g} is irrational")
        if k == 0:
            return Form.of(1)
        result = base
        for _ in range(int(k) - 1):
            result = self.builder.product(result, base)
        return result

    def _on_data(self, network: str, data: str) -> Forms:
        if (network, data) not in self._outputs:
            x = constants(self.problem.data[data].x, f"an input of {data}")
            self._outputs[network, data] = forward(self.builder, self.weights, self.problem.networks[network], x)
        return self._outputs[network, data]

    def _decided(self, network: Network, arguments: list[Form], output: int) -> Form:
        """A network at decisions: raw units in and out."""
        inputs = np.empty((1, len(arguments)), dtype=object)
        inputs[0, :] = arguments
        if (scaling := network.input_scaling) is not None:
            for k, (shift, factor) in enumerate(zip(scaling.shift, scaling.factor)):
                shifted = arguments[k] - rational(float(shift), "a shift")
                inputs[0, k] = shifted.times(1 / rational(float(factor), "a scale"))
        result = forward(self.builder, self.weights, network, inputs)[0, output]
        assert isinstance(result, Form)
        if (scaling := network.output_scaling) is not None:
            factor = rational(float(scaling.factor[output]), "a scale")
            return result.times(factor) + rational(float(scaling.shift[output]), "a shift")
        return result

    # -- sizes -------------------------------------------------------------------------------------------------------

    def nonzero(self, form: Form) -> Form:
        """1 if form != 0, else 0."""
        above, below = self.builder.nonnegative(form), self.builder.nonnegative(-form)
        return Form.of(2) - above - below  # both hold at 0 only, and one always

    def nonzeros(self, network: Network, layer: str | None) -> Form:
        return self._size(ex.Size("l0", network.name, layer))

    def _size(self, e: ex.Size) -> Form:
        network = self.problem.networks[e.network]
        if e.kind == "neurons":
            hidden = [x for x in network.layers if x.parameters and x.name not in network.outputs]
            chosen = hidden if e.layer is None else [network[e.layer]]
            return total([u for layer in chosen for u in self._units(network, layer)])
        if e.kind == "inputs":
            return total([u for layer in network.inputs for u in self._units(network, layer)])
        measure = {"l0": self.nonzero, "l1": self.builder.magnitude, "l2": self.builder.square}.get(e.kind)
        if measure is None:
            raise NotExact("a Euclidean norm is irrational")
        parts = []
        for _, p in covered(network, e):
            forms = self.weights.forms[p.name] if e.neuron is None else self.weights.forms[p.name][e.neuron]
            parts += [measure(form) for form in np.asarray(forms, dtype=object).reshape(-1)]
        return total(parts)

    def _units(self, network: Network, layer: Layer) -> list[Form]:
        """For each unit of a layer, 1 if a weight that reads it is nonzero."""
        readers = consumers(network, layer.name)
        if not readers:
            return [Form.of(1)] * layer.size
        found = []
        for u in range(layer.size):
            column = [f for r, offset in readers if r.weights is not None
                      for f in self.weights.forms[r.weights.name][:, offset + u]]  # fmt: skip
            found.append(self.builder.maximum([self.nonzero(f) for f in column]))
        return found

    # -- logic -------------------------------------------------------------------------------------------------------

    def require(self, e: ex.Expression) -> None:
        """The expression holds."""
        match e:
            case ex.And(parts=parts):
                for part in parts:
                    self.require(part)
            case ex.Comparison(operator=op, left=a, right=b):
                d = self.value(a) - self.value(b)
                if op == "==":
                    self.builder.equal(d)
                else:
                    self.builder.require(d if op == ">=" else -d)
            case _:
                self.builder.require(self.truth(e) - 1)

    def truth(self, e: ex.Expression) -> Form:
        """1 where a comparison or logical expression holds, else 0."""
        match e:
            case ex.Comparison(operator=op, left=a, right=b):
                d = self.value(a) - self.value(b)
                if op == "==":
                    return Form.of(1) - self.nonzero(d)
                return self.builder.nonnegative(d if op == ">=" else -d)
            case ex.And(parts=parts):
                return self.builder.minimum([self.truth(p) for p in parts])
            case ex.Or(parts=parts):
                return self.builder.maximum([self.truth(p) for p in parts])
            case ex.Implies(premise=a, conclusion=b):
                return self.builder.maximum([Form.of(1) - self.truth(a), self.truth(b)])
            case ex.Not(part=a):
                return Form.of(1) - self.truth(a)
        raise NotExact(f"{type(e).__name__} is no condition")
