"""Importing this module registers every template that comes with nnspec."""

from nnspec.encodings import (  # noqa: F401
    envelope,
    gelu,
    l0,
    logic,
    losses,
    maximum,
    piecewise,
    relu_bigm,
    relu_complementarity,
    relu_hull,
    relu_indicator,
    relu_partition,
    relu_sos1,
    sign,
    smooth,
    softmax,
    squares,
)
