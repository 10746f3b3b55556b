"""Reading specs from files, and `include`.

Paths are relative to the file that names them, and have to stay inside the folder of the main spec, symbolic links
resolved: a spec from somebody else reads nothing beyond what came with it.
"""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

from nnspec.errors import Diagnostic, Source, Span, SpecError, diagnostic
from nnspec.language import syntax as s
from nnspec.language.parser import parse

MAX_BYTES = 2_000_000  # some 25,000 constraints; longer tables belong into a data file
MAX_INCLUDES = 50  # files inside each other


def text_source(text: str, name: str = "<string>") -> Source:
    """A spec given as a string. Line ends become `\\n` and a byte order mark goes, as in files."""
    return Source(name, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def read_source(path: str | os.PathLike[str], name: str | None = None, span: Span | None = None) -> Source:
    """The text of a spec file; `name` is how diagnostics call it, `span` the place that asked for it.

    Raises SpecError with NNS001 if the file is not UTF-8 text, NNS010 if it cannot be read.
    """
    name = name or os.fspath(path)
    try:
        mode = os.stat(path).st_mode
        if span is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait
            raise SpecError(diagnostic("NNS010", f"{name} is not a regular file", span))
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SpecError(_unreadable(Path(path), name, error, span)) from None
    if len(content) > MAX_BYTES:
        message = f"{name} is longer than {MAX_BYTES // 1_000_000} MB"
        raise SpecError(diagnostic("NNS010", message, span, help="put large tables into a CSV file"))
    try:
        return text_source(content.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise SpecError(_not_text(content, name, error.start)) from None


def _unreadable(path: Path, name: str, error: OSError | ValueError, span: Span | None) -> Diagnostic:
    if isinstance(error, FileNotFoundError):
        near = _similar(path)
        return diagnostic("NNS010", f"{name} does not exist", span, help=f"did you mean {near}?" if near else None)
    if isinstance(error, IsADirectoryError):
        return diagnostic("NNS010", f"{name} is a folder, not a file", span)
    reason = (error.strerror or "").lower() if isinstance(error, OSError) else "this is no file name"
    return diagnostic("NNS010", f"{name} cannot be read: {reason or 'unknown reason'}", span)


def _similar(path: Path) -> str | None:
    """A file beside a missing one whose name is close to it."""
    import difflib

    try:
        names = os.listdir(path.parent)[:10_000]
    except (OSError, ValueError):
        return None
    return next(iter(difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)), None)


def _not_text(content: bytes, name: str, at: int) -> Diagnostic:
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    before = text_source(content[:at].decode("utf-8"))
    source = text_source(content.decode("utf-8", "replace"), name)
    start = len(before.text)
    fix = "this looks like UTF-16: save it as UTF-8" if utf16 else "save it as UTF-8"
    return diagnostic(
        "NNS001", f"{name} is not UTF-8 text", Span(source, start, start + 1), f"byte 0x{content[at]:02x}", help=fix
    )


def folder_of(source: Source, root: Path) -> Path:
    """The folder that paths in a source are relative to; `root` for a spec that was given as a string."""
    return root if source.name.startswith("<") else Path(source.name).parent


def reachable(path: s.String, root: Path) -> Path:
    """The file that a path in a spec means. Raises SpecError with NNS011 if it is outside of `root`, the folder of
    the main spec, or gets there through a symbolic link."""
    try:
        found = folder_of(path.span.source, root) / path.value
        inside = found.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):
        raise SpecError(diagnostic("NNS010", "this is no file name", path.span)) from None
    if not inside:
        raise SpecError(
            diagnostic(
                "NNS011",
                "this file is outside the folder of the spec",
                path.span,
                help="a spec reads nothing beyond its own folder; copy the file there",
            )
        )
    return found


def load_includes(spec: s.Spec, root: Path) -> tuple[s.Spec, list[Diagnostic]]:
    """The spec with the statements of included files in the place of each `include`, and all errors in those files.

    Each file is taken once, where it is first included. `root` is the folder of the main spec.
    """
    loader = _Loader(root)
    try:
        main = [folder_of(spec.source, root).joinpath(Path(spec.source.name).name).resolve()]
    except (OSError, ValueError, RuntimeError):
        main = []
    statements = loader.expand(spec, main, [spec.source.name])
    return s.Spec(spec.source, tuple(statements)), loader.errors


class _Loader:
    def __init__(self, root: Path):
        self.root = root
        self.errors: list[Diagnostic] = []
        self.done: set[Path] = set()

    def expand(self, spec: s.Spec, chain: list[Path], names: list[str]) -> list[s.Statement]:
        """The statements of a spec; `chain` and `names` are the files that include each other down to this one."""
        statements: list[s.Statement] = []
        for statement in spec.statements:
            if not isinstance(statement, s.Include):
                statements.append(statement)
                continue
            try:
                statements += self._included(statement, chain, names)
            except SpecError as error:
                self.errors += error.diagnostics
        return statements

    def _included(self, statement: s.Include, chain: list[Path], names: list[str]) -> list[s.Statement]:
        found = reachable(statement.path, self.root)
        file = found.resolve()
        name = os.path.normpath(found)
        if file in chain:
            circle = " -> ".join([*names[chain.index(file) :], name])
            raise SpecError(diagnostic("NNS012", f"includes in a circle: {circle}", statement.path.span))
        if file in self.done:
            return []
        if len(chain) > MAX_INCLUDES:
            message = f"more than {MAX_INCLUDES} files include each other"
            raise SpecError(diagnostic("NNS009", message, statement.path.span))
        self.done.add(file)
        spec, errors = parse(read_source(file, name, statement.path.span))
        self.errors += errors
        return self.expand(spec, [*chain, file], [*names, name])
