"""assume and enforce: a claim about the data is checked on the data, a restriction of a network on its shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from nnspec.errors import Label
from nnspec.language import syntax as sx
from nnspec.language.check.context import Context, DataInfo, fail
from nnspec.language.check.evaluate import evaluate
from nnspec.language.check.groups import Ground, read_group
from nnspec.language.check.reporting import reported
from nnspec.language.check.symmetry import network_of
from nnspec.language.check.values import DataRef, describe, show
from nnspec.problem import groups
from nnspec.problem.network import Network, Scaling
from nnspec.problem.problem import Group, SymmetryClaim

SHOWN_ROWS = 3


def check_claims(ctx: Context, spec: sx.Spec, networks: Mapping[str, Network]) -> tuple[SymmetryClaim, ...]:
    """All `assume` and `enforce` statements. Claims that the data contradict are reported with the rows."""
    found: list[SymmetryClaim] = []
    for statement in spec.statements:
        with reported(ctx):
            if isinstance(statement, sx.Assume):
                found.append(_assume(ctx, statement, networks))
            elif isinstance(statement, sx.Enforce):
                found.append(_enforce(ctx, statement, networks))
    return tuple(found)


# --- assume ----------------------------------------------------------------------------------------------------------


def _assume(ctx: Context, statement: sx.Assume, networks: Mapping[str, Network]) -> SymmetryClaim:
    first = statement.target.parts[0]
    value = evaluate(ctx, first, {})
    if not isinstance(value, DataRef) or len(statement.target.parts) > 1:
        what = describe(value) if len(statement.target.parts) == 1 else f"{statement.target}, a part of something"
        fail(
            "NNS034",
            f"assume speaks of a data set, but this is {what}",
            statement.target.span,
            help="a network is restricted by: enforce f invariant under ...",
        )
    info = ctx.data[value.name]
    data = info.data
    users = [networks[u.network] for u in ctx.uses if u.data == value.name]
    channels = next((x.inputs[0].shape[0] for x in users if len(x.inputs[0].shape) == 3), 1)
    ground = Ground(data.x.shape[1], data.x_names, f"inputs of {value.name}", channels)
    group = read_group(ctx, statement.group, ground)
    for generator in group.generators:
        rows = contradictions(generator, data.x, data.y)
        if rows:
            _report_rows(info, value.name, generator, rows, statement)
    return SymmetryClaim("assume", value.name, group, None, statement.span)


def contradictions(generator: groups.Generator, x: np.ndarray, y: np.ndarray) -> list[int]:
    """Samples whose image is not in the data as often as themselves; none if the data are invariant."""
    keys = [tuple(row) for row in (np.hstack([x, y]) + 0.0).tolist()]  # -0.0 counts as 0.0
    images = [tuple(row) for row in (np.hstack([groups.act(generator, x), y]) + 0.0).tolist()]
    have, want = Counter(keys), Counter(images)
    return [i for i, image in enumerate(images) if want[image] != have[image]]


def _report_rows(info: DataInfo, name: str, generator: groups.Generator, rows: list[int], statement: sx.Assume) -> None:
    raw = info.samples
    if not contradictions(generator, raw.x, raw.y):
        fail(
            "NNS085",
            f"{name} is invariant, but its scaling is not: the columns are scaled differently",
            statement.span,
            "",
            Label(info.span, "scaled here"),
            help="read the data with scale = none",
        )
    lines = []
    moved = groups.act(generator, raw.x)
    for i in rows[:SHOWN_ROWS]:
        row = raw.rows[i] if raw.rows else i + 1
        same = np.flatnonzero((raw.x == moved[i]).all(axis=1))
        if len(same) and not np.array_equal(raw.y[same[0]], raw.y[i]):
            other = raw.rows[same[0]] if raw.rows else int(same[0]) + 1
            lines.append(
                f"row {row}: target {_numbers(raw.y[i])}, but its image {_numbers(moved[i])} "
                f"has target {_numbers(raw.y[same[0]])} in row {other}"
            )
        elif len(same):
            lines.append(f"row {row}: {_numbers(raw.x[i])} and its image {_numbers(moved[i])} occur differently often")
        else:
            lines.append(f"row {row}: {_numbers(raw.x[i])} is there, but its image {_numbers(moved[i])} is not")
    if len(rows) > SHOWN_ROWS:
        lines.append(f"and {len(rows) - SHOWN_ROWS:,} more")
    group = " ".join(statement.group.span.text.split())
    fail(
        "NNS084",
        f"{name} is not invariant under {group}",
        statement.span,
        lines[0],
        *(Label(info.span, line) for line in lines[1:]),
        help="correct the data, or remove the claim",
    )


def _numbers(row: np.ndarray) -> str:
    cells = [show(float(v)) for v in row[:8]]
    text = ", ".join(cells) + (", ..." if len(row) > 8 else "")
    return f"({text})" if len(row) > 1 else text


# --- enforce ---------------------------------------------------------------------------------------------------------


def _enforce(ctx: Context, statement: sx.Enforce, networks: Mapping[str, Network]) -> SymmetryClaim:
    name = network_of(ctx, statement.target)
    if len(statement.target.parts) > 1:
        fail("NNS083", "a symmetry is enforced on a whole network", statement.target.span, help=f"write {name}")
    network = networks[name]
    if not network.free:
        fail("NNS083", f"the weights of {name} are constants, so nothing can be enforced", statement.target.span)
    shape = network.inputs[0].shape
    inputs = Ground(
        network.input_size,
        network.input_names,
        f"inputs of {name}",
        shape[0] if len(shape) == 3 and len(network.inputs) == 1 else 1,
    )
    group = read_group(ctx, statement.group, inputs)
    _check_scaling(group, network.input_scaling, "inputs", network, statement)
    image = None
    if statement.kind == "equivariant":
        last = network[network.outputs[0]].shape
        names = network.output_names or network.classes
        outputs = Ground(
            network.output_size,
            names if len(names) == network.output_size else (),
            f"outputs of {name}",
            last[0] if len(last) == 3 and len(network.outputs) == 1 else 1,
        )
        place = statement.image if statement.image is not None else statement.group
        if statement.image is None and network.output_size != network.input_size:
            fail(
                "NNS083",
                f"the group cannot act on {network.input_size} inputs and {network.output_size} outputs alike",
                statement.group.span,
                help="say how it acts on the outputs: enforce f equivariant under swap(0, 1) -> signflip(0)",
            )
        image = read_group(ctx, place, outputs)
        if len(image.generators) != len(group.generators):
            fail(
                "NNS083",
                f"the first group has {len(group.generators)} generators, the second {len(image.generators)}",
                place.span,
                help="generators correspond one by one",
            )
        if groups.is_homomorphism(group, image) is False:
            fail(
                "NNS083",
                "the second group cannot follow the first: an order in which the first comes back to the start "
                "does not bring the second back",
                place.span,
                help="generators correspond one by one, and their relations must agree",
            )
        _check_scaling(image, network.output_scaling, "outputs", network, statement)
    elif statement.image is not None:
        fail("NNS082", "invariant means that outputs do not change", statement.image.span, help="write equivariant")
    return SymmetryClaim("enforce", name, group, image, statement.span)


def _check_scaling(group: Group, scaling: Scaling | None, what: str, network: Network, statement: sx.Enforce) -> None:
    """In scaled units the group must act as in raw units, or the written network would not have the symmetry."""
    if scaling is None:
        return
    for images, signs in group.generators:
        index, sign = list(images), np.asarray(signs, dtype=float)
        if not (
            np.array_equal(scaling.shift, sign * scaling.shift[index])
            and np.array_equal(scaling.factor, scaling.factor[index])
        ):
            fail(
                "NNS085",
                f"the {what} of {network.name} that the group exchanges are scaled differently",
                statement.span,
                help=f"read the data with {'scale' if what == 'inputs' else 'scale_y'} = none",
            )
