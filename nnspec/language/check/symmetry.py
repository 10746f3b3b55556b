"""break symmetry: accepted where it is sound, refused with the reason where it is not.

permutation of a layer's neurons is sound if nothing in the spec names a single neuron; signflip if, besides, the
activation is odd and the ranges of all weights involved are symmetric; scaling if the activation is positively
homogeneous and ranges and penalties survive it: no discrete weights, no l1 penalty, no constraint on a single weight.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnspec.errors import Label, Span
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, Poisoned, fail
from nnspec.language.check.evaluate import evaluate
from nnspec.language.check.paths import find_layer
from nnspec.language.check.reporting import reported
from nnspec.language.check.values import NetworkRef, describe
from nnspec.language.sources.errors import did_you_mean
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import consumers
from nnspec.problem.network import Activation, Layer, Network, Parameter
from nnspec.problem.problem import BreakSymmetry, Objective

KINDS = ("permutation", "scaling", "signflip", "auto", "none")


def check_breaks(ctx: Context, spec: sx.Spec, objective: Objective) -> tuple[BreakSymmetry, ...]:
    """All `break symmetry` statements, checked against the rest of the spec."""
    roots = [c.expression for c in ctx.constraints]
    if objective.expression is not None:
        roots.append(objective.expression)
    named = list(_named_parts(roots))
    found: list[BreakSymmetry] = []
    for statement in spec.statements:
        if isinstance(statement, sx.BreakSymmetry):
            with reported(ctx):
                entry = _read(ctx, statement, named)
                for other in found:
                    if (other.network, other.layer) == (entry.network, entry.layer):
                        assert other.span is not None
                        fail(
                            "NNS086",
                            f"the symmetry of {statement.target} is broken by two statements",
                            statement.span,
                            "again here",
                            Label(other.span, "first here"),
                            help="list all kinds in one statement",
                        )
                found.append(entry)
    return tuple(found)


def _named_parts(roots: list[ex.Expression]) -> Iterator[ex.ParameterRef | ex.Size]:
    """The single weights and the sizes that expressions mention; shared parts are visited once."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if isinstance(e, ex.ParameterRef | ex.Size):
            yield e
        stack.extend(ex.children(e))


def network_of(ctx: Context, path: sx.Path) -> str:
    """The network that a path begins with."""
    first = path.parts[0]
    value = evaluate(ctx, first, {})
    if not isinstance(value, NetworkRef):
        fail("NNS034", f"a network was expected here, but this is {describe(value)}", first.span)
    return value.name


def _read(ctx: Context, statement: sx.BreakSymmetry, named: list[ex.ParameterRef | ex.Size]) -> BreakSymmetry:
    path = statement.target
    name = network_of(ctx, path)
    network = ctx.networks[name]
    layer = find_layer(ctx, name, path.parts[1]) if len(path.parts) > 1 else None
    if layer is not None and len(path.parts) > 2:
        fail(
            "NNS081", "symmetries belong to a layer, not to a part of it", path.span, help=f"write {name}.{layer.name}"
        )
    kinds = tuple(k.name for k in statement.kinds)
    for k, node in enumerate(statement.kinds):
        if node.name not in KINDS:
            fail(
                "NNS080",
                f"unknown kind of symmetry {node.name}",
                node.span,
                help=did_you_mean(node.name, KINDS, f"the kinds are {', '.join(KINDS)}"),
            )
        if node.name in kinds[:k]:
            fail("NNS086", f"{node.name} is listed twice", node.span)
        if node.name in ("auto", "none") and len(kinds) > 1:
            fail("NNS086", f"{node.name} stands alone", node.span, help="list either kinds, or auto, or none")
    hidden = [x for x in network.layers if x.parameters and x.name not in network.outputs]
    if layer is not None:
        if layer.name in network.outputs:
            fail("NNS081", f"{name}.{layer.name} is the output, whose units have a meaning", path.span)
        if layer not in hidden:
            fail("NNS081", f"{name}.{layer.name} has no weights, so it has no symmetry", path.span)
    if not network.free:
        fail("NNS081", f"the weights of {name} are constants, so they have no symmetry", path.span)
    for node in statement.kinds:
        for x in hidden if layer is None else [layer]:
            if node.name in ("permutation", "scaling", "signflip"):
                _check_kind(ctx, network, x, node, named)
    return BreakSymmetry(name, None if layer is None else layer.name, kinds, statement.span)


def _check_kind(
    ctx: Context, network: Network, layer: Layer, node: sx.Name, named: list[ex.ParameterRef | ex.Size]
) -> None:
    kind, where = node.name, f"{network.name}.{layer.name}"

    def refuse(reason: str, place: Span | None = None, label: str = "") -> None:
        more = (Label(place, label),) if place is not None else ()
        fail(
            "NNS081",
            f"{kind} would change the optimum: {reason}",
            node.span,
            "",
            *more,
            help="leave it out, or write auto",
        )

    try:
        readers = [x for x, _ in consumers(network, layer.name)]
    except ValueError:
        refuse(f"{where} is read through a layer that mixes its units", layer.span)
        raise Poisoned from None  # refuse does not return
    parameters = [p for x in (layer, *readers) for p in ((x.weights, x.bias) if x is layer else (x.weights,)) if p]
    for p in parameters:
        if not p.free:
            refuse(f"the weights of {p.name.rsplit('.', 1)[0]} are constants", p.span)
    names = {p.name for p in parameters}
    for e in named:
        if isinstance(e, ex.ParameterRef) and e.parameter in names:
            refuse(f"single weights of {e.parameter.rsplit('.', 1)[0]} are named", e.span, "here")
        if isinstance(e, ex.Size) and e.network == network.name:
            if e.layer == layer.name and e.neuron is not None and kind == "permutation":
                refuse(f"the neuron {where}[{e.neuron}] is named", e.span, "here")
            if e.kind == "l1" and kind == "scaling" and e.layer in (None, *(x.name for x in (layer, *readers))):
                refuse("an l1 penalty depends on the scale", e.span, "here")
    activations = _activations(network, layer)
    if kind == "signflip":
        for a in activations:
            if not a.odd:
                refuse(f"{a} is not odd", layer.span, f"the activation of {where}")
        for p in parameters:
            if not _symmetric(p):
                refuse(f"the range of {p.name} is not symmetric about 0", p.span, "this range")
    if kind == "scaling":
        for a in activations:
            if not a.homogeneous:
                refuse(f"{a} does not keep a positive factor", layer.span, f"the activation of {where}")
        for p in parameters:
            if p.kind != "real":
                refuse(f"{p.name} takes only single values", p.span, "this set")


def _activations(network: Network, layer: Layer) -> list[Activation]:
    """The activations between a layer's weights and the weights that read it."""
    found = [layer.activation]
    for x in network.layers:
        if layer.name in x.inputs:
            if x.kind == "activation":
                found += _activations(network, x)
            elif x.kind in ("flatten", "concat"):
                found += _activations(network, x)[1:]
    return found


def _symmetric(p: Parameter) -> bool:
    if p.kind == "set":
        return set(p.values) == {-v for v in p.values}
    return bool(np.array_equal(p.lo, -p.hi))
