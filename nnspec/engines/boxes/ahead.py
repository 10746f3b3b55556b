"""What the first solve of the boxes engine has to compile, in two parts of about equal length, and the rest.

Functions with a signature (`linked`) are compiled when their module is imported, each from its callees' signatures
alone; for the others the types of a call from Python are written here.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from nnspec.engines.compiled import Mode, refresh

PARTS = ("points", "bounds", "rest")
FIRST = ("points", "bounds")
"""What a solve without a certificate needs."""
LINKED: dict[str, frozenset[str]] = {
    "points": frozenset({
        "losses.total_loss", "losses.conjugate", "outputs.box_quadratic", "outputs.gradient", "outputs._hessian",
        "outputs._newton", "outputs.solve", "coupling.impart", "coupling.prices", "coupling.excluded",
        "coupling.place", "coupling.stiffen", "coupling.augmentation", "coupling.derivatives", "coupling.update",
        "network.hidden", "network._coupled_outputs", "network.objective", "network.newton_step",
        "network.descend", "search.tighten", "search.candidate", "search._treat",
    }),
    "bounds": frozenset({
        "enclosure.quadratic_min", "enclosure.neuron_bound", "search.dual_bound", "search._corrected",
    }),
    "rest": frozenset(),
}  # fmt: skip
"""The functions with a signature, by the part that compiles them."""
MODULES = ("losses", "coupling", "outputs", "network", "enclosure", "search", "local")


def compile_part(part: str) -> None:
    """Compile a part; the code stays on disk."""
    refresh(Path(__file__).parent)
    Mode.share = LINKED[part]
    modules = {name: importlib.import_module(f"{__package__}.{name}") for name in MODULES}
    for name, types in calls(part).items():
        module, function = name.split(".")
        getattr(modules[module], function).compile(types)


def calls(part: str) -> dict[str, tuple]:
    """The types of the arguments of the functions of a part that have no signature."""
    from nnspec.engines.boxes.types import (
        BOOL,
        CUBE,
        DOMAIN,
        FLOAT,
        INT,
        LOG,
        MATRIX,
        MODEL,
        NETWORK,
        PARTS,
        WORK,
    )

    slots = INT[::1]
    types: dict[str, dict[str, tuple]] = {
        "points": {
            "local.best_of": (MODEL, CUBE, *(MATRIX,) * 4, INT, MATRIX, MATRIX),
            "search.push": (slots, MATRIX, INT, INT),
            "search.row_size": (INT, INT, INT),
        },
        "bounds": {
            "search.run": (MODEL, DOMAIN, MATRIX, slots, INT, slots, INT, FLOAT, MATRIX, MATRIX, FLOAT, INT, BOOL, LOG),
            "search.pop": (slots, MATRIX, INT),
        },
        "rest": {
            "local.in_domain": (MODEL, DOMAIN, *(MATRIX,) * 6),
            "search.seal": (MODEL, DOMAIN, MATRIX, slots, INT, INT, FLOAT, LOG),
            "search.node_scratch": (INT,) * 5,
            "search.node_bound": (MODEL, DOMAIN, *(MATRIX,) * 6, FLOAT, NETWORK, PARTS, WORK, LOG),
        },
    }
    return types[part]
