"""l0, neurons, inputs, l1, l2 of a network, a layer, a tensor or a neuron."""

from __future__ import annotations

from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, fail
from nnspec.language.check.evaluate import Env, evaluate
from nnspec.language.check.paths import tensor
from nnspec.language.check.values import NetworkRef, Part, Value, describe
from nnspec.problem import Objective, Point, Problem
from nnspec.problem import expression as ex
from nnspec.problem.evaluate import consumers, size

SIZES = ("l0", "neurons", "inputs", "l1", "l2")


def size_call(ctx: Context, node: sx.Call, env: Env) -> Value:
    """The value of `l0(f.h1)` and its kin."""
    from nnspec.language.check.functions import arguments

    kind = node.function.span.text
    options = arguments(node, 1, 1, ("biases",) if kind in ("l1", "l2") else ())
    target = evaluate(ctx, node.args[0], env)
    place = node.args[0].span
    biases = False
    if "biases" in options:
        value = evaluate(ctx, options["biases"], env)
        if not isinstance(value, bool):
            fail("NNS034", f"true or false was expected here, but this is {describe(value)}", options["biases"].span)
        biases = value
    match target:
        case NetworkRef(network):
            part = None
            layers = [x for x in ctx.networks[network].layers if x.parameters]
        case Part(network, layer, _, _):
            part = target
            layers = [ctx.networks[network][layer]]
        case _:
            example = {"neurons": "neurons(f.h1)", "inputs": "inputs(f)"}.get(kind, f"{kind}(f) or {kind}(f.h1)")
            fail(
                "NNS053",
                f"{kind} takes a network or a part of one, but this is {describe(target)}",
                place,
                help=f"write {example}",
            )
    if kind == "inputs" and part is not None:
        fail("NNS053", "inputs counts the inputs of a whole network", place, help=f"write inputs({network})")
    if kind == "neurons" and part is not None and (part.tensor or part.neuron is not None):
        fail("NNS053", "neurons counts the neurons of a layer", place, help=f"write neurons({network}.{part.layer})")
    if part is not None and not layers[0].parameters:
        fail("NNS053", f"the layer {network}.{part.layer} has no weights", place)
    if part is not None and biases and part.tensor == "weights":
        fail("NNS053", "the weights alone contain no biases", options["biases"].span)
    if kind in ("neurons", "inputs"):
        _check_consumers(ctx, kind, network, part, node)
    e = ex.Size(
        kind,
        network,
        None if part is None else part.layer,
        None if part is None else part.tensor,
        None if part is None else part.neuron,
        biases,
        span=node.span,
    )
    chosen = [p for x in layers for p in x.parameters] if part is None or part.tensor is None else [tensor(ctx, part)]
    if kind in ("l0", "l1", "l2") and not any(p is not None and p.free for p in chosen):
        return _constant(ctx, e)
    return e


def _constant(ctx: Context, e: ex.Size) -> float:
    return size(Problem("", ctx.networks, {}, {}, Objective("satisfy", None)), Point(), e)


def _check_consumers(ctx: Context, kind: str, network: str, part: Part | None, node: sx.Call) -> None:
    net = ctx.networks[network]
    if part is not None:
        layers = [part.layer]
    elif kind == "inputs":
        layers = [x.name for x in net.inputs]
    else:
        layers = [x.name for x in net.layers if x.parameters and x.name not in net.outputs]
    for layer in layers:
        try:
            consumers(net, layer)
        except ValueError:
            fail(
                "NNS053",
                f"{kind} cannot be counted here: {network}.{layer} is read through a layer that mixes its units",
                node.span,
                help="it is counted through dense, activation, flatten and concat layers",
            )
