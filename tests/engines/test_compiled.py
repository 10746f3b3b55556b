"""The cache of compiled functions follows the sources, callees in other files included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAD = "from nnspec.engines.compiled import compiled\n"
CALLER = f"{HEAD}from package.callee import inner\n@compiled\ndef outer(x):\n    return inner(x) + 1\n"
CALLEE = f"{HEAD}@compiled\ndef inner(x):\n    return FACTOR * x\n"


def run(folder: Path, factor: int) -> str:
    (folder / "package" / "callee.py").write_text(CALLEE.replace("FACTOR", str(factor)))
    code = (
        "from pathlib import Path; from nnspec.engines.compiled import refresh; refresh(Path('package'));"
        "from package.caller import outer; print(outer(10), sum(outer.stats.cache_hits.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_changed_callee_is_compiled_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "caller.py").write_text(CALLER)
    assert run(tmp_path, 2) == "21 0"
    assert run(tmp_path, 2) == "21 1"
    assert run(tmp_path, 3) == "31 0"
