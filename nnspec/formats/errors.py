"""Errors of the file formats. Codes NNS300 to NNS319; none has a place in a spec, the caller adds one where it can."""

from __future__ import annotations

from pathlib import Path

from nnspec.errors import Diagnostic, MissingPackageError, SpecError, UnsupportedError

UNREADABLE = "NNS300"  # no such file, not that format, damaged, too large
OUTSIDE = "NNS301"  # external data outside the folder of the model
OPERATOR = "NNS302"  # an operator or a use of it that networks of the language do not have
MISMATCH = "NNS303"  # what was read or written does not compute what the file computes
FORMAT = "NNS304"  # unknown format, or a network that the format cannot hold
PACKAGE = "NNS305"  # the format's package is not installed


def unreadable(path: Path | str, why: str, help: str | None = None) -> SpecError:
    return SpecError(Diagnostic(UNREADABLE, f"cannot read the network file {str(path)!r}: {why}", help=help))


def outside(path: Path | str, location: str) -> SpecError:
    return SpecError(Diagnostic(
        OUTSIDE, f"{str(path)!r} keeps weights in {location!r}, which is outside the folder of the model",
        help="put the weights file beside the model, or store the weights inside it",
    ))  # fmt: skip


def operator(path: Path | str, node: str, kind: str, why: str, help: str | None = None) -> UnsupportedError:
    return UnsupportedError(Diagnostic(OPERATOR, f"{str(path)!r}: node {node!r} ({kind}): {why}", help=help))


def mismatch(path: Path | str, why: str) -> UnsupportedError:
    return UnsupportedError(Diagnostic(MISMATCH, f"{str(path)!r}: {why}"))


def unwritable(what: str, help: str | None = None) -> UnsupportedError:
    return UnsupportedError(Diagnostic(FORMAT, what, help=help))


def missing(package: str, purpose: str) -> MissingPackageError:
    return MissingPackageError(Diagnostic(
        PACKAGE, f"{purpose} needs the package {package!r}, which is not installed", help=f"pip install {package}"
    ))  # fmt: skip
