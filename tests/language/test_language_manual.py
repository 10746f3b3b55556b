"""Every example of the manual is a complete spec without errors, laid out as the formatter does it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnspec.language.format import format_source
from nnspec.language.includes import text_source
from nnspec.language.load import check
from nnspec.language.render import render
from nnspec.language.vocabulary import STARTS
from nnspec.problem.network import ACTIVATIONS

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```nns\n(.*?)^```$", MANUAL, re.DOTALL | re.MULTILINE)

FILES = {
    "house.csv": "area,rooms,age,dist,price\n50,2,30,5,200\n80,3,10,2,410\n120,5,40,8,390\n",
    "iris.csv": "sl,sw,pl,pw,species\n" + "".join(f"{i},3.1,1.4,{i}.2,{c}\n" for i in range(1, 5) for c in "abc"),
    "defaults.nns": "let bound = 4\n",
}


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_example(index: int, tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    images = np.arange(48.0).reshape(3, 16)
    np.savez(tmp_path / "digits.npz", images=images, is_zero=np.array([0, 1, 1]))
    shutil.copy(ROOT / "examples" / "demand.onnx", tmp_path)
    (tmp_path / "example.nns").write_text(BLOCKS[index], encoding="utf-8")
    result = check(tmp_path / "example.nns")
    errors = [found for found in result.diagnostics if found.severity == "error"]
    assert not errors, render(errors)
    assert result.problem is not None


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_example_is_formatted(index: int) -> None:
    squeezed = re.sub(" +#", "  #", BLOCKS[index])  # comments may be aligned more widely
    assert re.sub(" +#", "  #", format_source(text_source(BLOCKS[index]))) == squeezed


def test_the_manual_is_complete() -> None:
    text = MANUAL.replace("`break symmetry`", "`break`")
    assert len(BLOCKS) > 12
    for word in [*(start.lower() for start in STARTS), *ACTIVATIONS]:
        assert re.search(rf"`{word}\b", text), f"the manual does not mention {word}"
