"""Write the expected text of every bad spec and of every command in commands/:  python tests/bad/update.py

A bad spec is `NNS012-short-name.nns`. Beside it may be `NNS012-short-name.params.json` with values of parameters, and a
folder `NNS012-short-name` with other files that it needs. Look at the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

from nnspec.errors import Diagnostic, NnspecError
from nnspec.language.check.checker import check_spec
from nnspec.language.includes import load_includes, read_source
from nnspec.language.parser import parse
from nnspec.language.render import render

HERE = Path(__file__).parent


def bad_specs() -> list[Path]:
    return sorted(HERE.glob("NNS*.nns"))


def found_in(spec: Path) -> list[Diagnostic]:
    """The diagnostics of a spec; run in its folder, so that they name it as it is called here."""
    params = spec.with_suffix(".params.json")
    values = json.loads(params.read_text()) if params.exists() else {}
    try:
        tree, errors = parse(read_source(spec.name))
        tree, more = load_includes(tree, Path())
        return [*errors, *more, *check_spec(tree, values, Path(), broken=bool(errors or more)).diagnostics]
    except NnspecError as error:
        return list(error.diagnostics)


def rendered(spec: Path) -> str:
    return render(found_in(spec)) + "\n"


def main() -> None:
    os.chdir(HERE)
    for spec in bad_specs():
        spec.with_suffix(".expected").write_text(rendered(spec), encoding="utf-8", newline="\n")
    for orphan in {p.stem for p in HERE.glob("*.expected")} - {p.stem for p in bad_specs()}:
        (HERE / f"{orphan}.expected").unlink()
    runpy.run_path(str(HERE / "commands" / "golden.py"), run_name="__main__")


if __name__ == "__main__":
    main()
