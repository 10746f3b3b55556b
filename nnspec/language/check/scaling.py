"""Networks take over the scaling, the column names and the classes of the data they are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnspec.errors import Diagnostic, Label
from nnspec.language.check.context import Context, Use
from nnspec.problem.data import DataSet
from nnspec.problem.network import Network, Scaling


def scaled_networks(ctx: Context) -> dict[str, Network]:
    """All networks, with what their data sets say; data sets that disagree are reported with both places."""
    result = {}
    for name, network in ctx.networks.items():
        uses = [u for u in ctx.uses if u.network == name]
        if uses:
            _check_agreement(ctx, name, uses)
            network = _with_data(network, ctx.data[uses[0].data].data)
        result[name] = network
    return result


def _with_data(network: Network, data: DataSet) -> Network:
    fits = data.y.shape[1] == network.output_size
    return replace(
        network,
        input_names=network.input_names or data.x_names,
        output_names=network.output_names or (data.y_names if fits else ()),
        classes=network.classes or data.classes,
        input_scaling=network.input_scaling if network.input_scaling is not None else data.x_scaling,
        output_scaling=network.output_scaling
        if network.output_scaling is not None
        else data.y_scaling
        if fits
        else None,
    )


def _check_agreement(ctx: Context, network: str, uses: list[Use]) -> None:
    first = uses[0]
    a = ctx.data[first.data].data
    for use in uses[1:]:
        b = ctx.data[use.data].data
        if use.data == first.data:
            continue
        difference = None
        if not same(a.x_scaling, b.x_scaling):
            difference = "the inputs are scaled differently"
        elif not same(a.y_scaling, b.y_scaling):
            difference = "the targets are scaled differently"
        elif a.classes != b.classes and a.classes and b.classes:
            difference = f"the classes are {', '.join(a.classes[:6])} and {', '.join(b.classes[:6])}"
        elif a.x_names != b.x_names and a.x_names and b.x_names:
            difference = f"the inputs are {', '.join(a.x_names[:6])} and {', '.join(b.x_names[:6])}"
        if difference is not None:
            fix = "read both files with scale = none, or make one of them a part of a split of the other"
            if "classes" in difference:
                fix = "give both the same list: label(column, classes = [...])"
            elif "scaled" not in difference:
                fix = "name the same columns in the same order"
            ctx.report(
                Diagnostic(
                    "NNS055",
                    f"{first.data} and {use.data} cannot be used with one network: {difference}",
                    (Label(use.span, f"{network} on {use.data}"), Label(first.span, f"{network} on {first.data}")),
                    fix,
                )
            )
            return


def same(a: Scaling | None, b: Scaling | None) -> bool:
    """Whether two scalings are the same map."""
    if a is None or b is None:
        return (a is None or a.trivial) and (b is None or b.trivial)
    return bool(np.array_equal(a.shift, b.shift) and np.array_equal(a.factor, b.factor))
