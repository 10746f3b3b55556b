"""The decorator of all compiled functions, and a cache that always belongs to the sources.

numba keys its cache by the file of the compiled function alone, but a compiled function contains those that it calls
from other files: after a change of one file, the stale code of the others would go on being used.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARKS = (b"@compiled", b"@bare", b"@linked(")
CONSTANTS = ("kinds", "types", "arrays")


@functools.cache  # once per process: its modules keep the code that they were imported with
def refresh(folder: Path) -> None:
    """Drop the compiled functions in a package's cache if any source has changed since they were compiled.

    `folder` is the package's own; CONSTANTS are its modules of numbers and arrays that compiled functions read. Call it
    before the modules with compiled functions are imported.
    """
    h = hashlib.sha256(Path(__file__).read_bytes())
    for source in sorted(folder.glob("*.py")):
        content = source.read_bytes()
        if any(mark in content for mark in MARKS) or source.stem in CONSTANTS:
            h.update(source.name.encode() + content)
    stamp = folder / "__pycache__" / "compiled.sha256"
    with contextlib.suppress(OSError):  # a read-only installation keeps its cache elsewhere, and never changes
        if not stamp.exists() or stamp.read_text() != h.hexdigest():
            for old in (*stamp.parent.glob("*.nbi"), *stamp.parent.glob("*.nbc")):
                old.unlink(missing_ok=True)
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(h.hexdigest())


def is_kept(module: str, function: str) -> bool:
    """Whether compiled code of a function, named as "module.function", is on disk where numba keeps that of `module`
    (by its full name; importing it must compile nothing)."""
    imported = importlib.import_module(module)
    path = next(f.stats.cache_path for f in vars(imported).values() if hasattr(f, "stats"))
    return any(Path(path).glob(f"{function}-*.nbc"))


class Mode:
    """How the decorators below work while modules are imported; see engines/ahead.py."""

    interpreted = False  # functions stay Python functions
    share: frozenset[str] | None = None  # the linked functions to compile, as "module.function"; None: all
    alone = False  # no other code of this process uses numba: the command line


@functools.cache
def without_blas() -> None:
    """Let numba load its array functions without looking for BLAS in SciPy.

    That takes longer than all the rest of numba (0.12 s of a solve's start), for products of arrays that no compiled
    function here asks for. Where numba has no such place any more, nothing changes.
    """
    from numba.np import linalg

    def absent() -> None:
        raise ImportError

    names: dict[str, Any] = vars(linalg)
    present = names.get("ensure_blas")
    names["ensure_blas"] = absent
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        names["ensure_blas"] = present


def numba_njit() -> Any:
    """numba's njit."""
    from numba import njit

    if Mode.alone:
        without_blas()
    return njit


def compiled(function: Callable) -> Callable:
    """numba's njit, kept on disk, without the GIL; a division by zero gives inf or nan, on which no bound rests."""
    if Mode.interpreted:
        return function
    return numba_njit()(cache=True, nogil=True, error_model="numpy")(function)


def bare(function: Callable) -> Callable:
    """`compiled` for functions that neither make arrays nor assign to slices: no references are counted.

    numba otherwise counts those to every array of every call with atomic instructions, a third of the time of a node.
    """
    if Mode.interpreted:
        return function
    return numba_njit()(cache=True, nogil=True, error_model="numpy", _nrt=False)(function)


def linked(signature: Any) -> Callable[[Callable], Any]:
    """Like `compiled` for one signature of numba types, but callers are linked to the one compiled version.

    numba compiles a function together with all that it calls, on every level again: the time grows with the depth of
    calls. Functions with this decorator are compiled once, when they are imported, and called through a symbol; errors
    pass as usual. For compiled callers only; Python reaches the function by its attribute `dispatcher`.

    A caller is compiled from the signature alone, so processes can compile a share of the functions each.
    """
    if Mode.interpreted:
        return lambda function: function
    from llvmlite.binding import add_symbol
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    result, wanted = signature.return_type, signature.args

    def decorate(function: Callable) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        dispatcher: Any = None
        if Mode.share is None or ".".join(name.split(".")[-2:]) in Mode.share:
            dispatcher = numba_njit()(signature, cache=True, nogil=True, error_model="numpy")(function)
            compiled_one = dispatcher.overloads[wanted]
            add_symbol(name, compiled_one.library.get_pointer_to_function(compiled_one.fndesc.llvm_func_name))
        else:
            add_symbol(name, 1)  # the address is needed for compiling callers, not for calling: none are run

        def typed(typing_context: Any, *arguments: Any) -> Any:
            if len(arguments) != len(wanted):
                raise TypeError(f"{name} takes {len(wanted)} arguments, not {len(arguments)}")

            def code(context: Any, builder: Any, given: Any, values: Any) -> Any:
                one_by_one = zip(cgutils.unpack_tuple(builder, values[0]), given.args[0], wanted)
                converted = [context.cast(builder, v, have, want) for v, have, want in one_by_one]
                form = context.call_conv.get_function_type(result, wanted)
                callee = cgutils.get_or_insert_function(builder.module, form, name)
                status, value = context.call_conv.call_function(builder, callee, result, wanted, converted)
                with cgutils.if_unlikely(builder, status.is_error):
                    context.call_conv.return_status_propagate(builder, status)
                return value

            return result(types.StarArgTuple.from_types(arguments)), code

        symbol: Any = intrinsic(typed)
        symbol.dispatcher = dispatcher
        return symbol

    return decorate
