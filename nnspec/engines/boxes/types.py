"""numba's types of what the compiled functions exchange; they are compiled once for these (see engines/compiled.py)."""

from __future__ import annotations

from numba import boolean, float32, float64, int64, types, void

from nnspec.engines.boxes.domain import Domain
from nnspec.engines.boxes.model import Arrays

INT, FLOAT, BOOL, VOID = int64, float64, boolean, void
MATRIX, VECTOR, STRIDED = float64[:, ::1], float64[::1], float64[:]
CUBE = float64[:, :, ::1]
PAIR = types.UniTuple(float64, 2)
_ARRAYS = {"kind": INT, "alpha": FLOAT, "loss": INT, "par": FLOAT, "tau": FLOAT, "cw": VECTOR, "constant": FLOAT,
           "copies": CUBE}  # fmt: skip
MODEL = types.NamedTuple([_ARRAYS.get(name, MATRIX) for name in Arrays._fields], Arrays)
OUTPUTS = types.UniTuple(MATRIX, 6)  # outputs.scratch
NETWORK = types.Tuple([MATRIX] * 10 + [OUTPUTS])  # network.scratch
WORK = types.Tuple([MATRIX] * 5 + [CUBE] * 2 + [MATRIX] * 5)  # enclosure.workspace
PARTS = types.Tuple([MATRIX, VECTOR, MATRIX, VECTOR] + [MATRIX] * 4 + [CUBE, OUTPUTS] + [MATRIX] * 8)  # search._scratch
LOG = types.Tuple([MATRIX, float32[:, ::1], int64[::1]])
TREATED = types.Tuple([FLOAT, INT, FLOAT])
_DOMAIN = {"counts": INT[::1], "low": VECTOR, "high": VECTOR, "prices": VECTOR, "scale": VECTOR, "by": INT[::1],
           "ceiling": FLOAT, "plain": BOOL}  # fmt: skip
DOMAIN = types.NamedTuple([_DOMAIN.get(name, MATRIX) for name in Domain._fields], Domain)
