"""Enforced symmetries: `enforce f invariant|equivariant under G` as ties between weights, one case for each way in
which the group can act on the hidden neurons. See `expand`."""

from nnspec.symmetry.expand import Expanded, enforced, expand

__all__ = ["Expanded", "enforced", "expand"]
