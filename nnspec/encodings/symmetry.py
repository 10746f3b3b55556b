"""Static symmetry breaking."""
from nnspec.encodings.context import Context
from nnspec.encodings.parameters import Parameters


def symmetry_rows(context: Context, parameters: Parameters) -> None:
    pass
