"""Write the expected text of every command that must fail; run by  python tests/bad/update.py

A case is `NNS164-short-name.txt`: its first line is `$ nnspec ...` or `$ python FILE` (what a user of the Python
interface would write), the rest is what that prints on stderr and, in the last line, the exit status. `WITHOUT=package`
in front of the command runs it as if that package were not installed. The cases run in a copy of this folder, so they
may write. Look at the difference before you commit it.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import io
import os
import runpy
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nnspec.cli.main import run
from nnspec.errors import NnspecError
from nnspec.language.render import render

HERE = Path(__file__).parent


def cases() -> list[Path]:
    return sorted(HERE.glob("NNS*.txt"))


def _python(file: str) -> int:
    try:
        runpy.run_path(file)
    except NnspecError as error:
        print(render(error.diagnostics), file=sys.stderr)
        return 1
    return 0


class _NotInstalled(importlib.abc.MetaPathFinder):
    """Finds that some packages are not there."""

    def __init__(self, packages: list[str]):
        self.packages = packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}")


@contextlib.contextmanager
def _without(packages: list[str]) -> Iterator[None]:
    """As if these packages were not installed."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in packages}
    finder = _NotInstalled(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(kept)


def printed(case: Path, folder: Path) -> str:
    """The case's command and what it prints, run in `folder`, a copy of this one."""
    command = case.read_text(encoding="utf-8").splitlines()[0]
    words = shlex.split(command.removeprefix("$ "))
    hidden = []
    while "=" in words[0]:
        hidden.append(words.pop(0).removeprefix("WITHOUT="))
    program, *arguments = words
    err = io.StringIO()
    before = os.getcwd()
    os.chdir(folder)
    try:
        with _without(hidden), contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            status = _python(*arguments) if program == "python" else run(arguments)
    finally:
        os.chdir(before)
    return f"{command}\n{err.getvalue().rstrip()}\nexit {status}\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for case in cases():
            folder = Path(name) / case.stem
            shutil.copytree(HERE, folder)
            case.write_text(printed(case, folder), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
