"""Every code that is not the checker's has a command that fails with it and prints the text that is written here."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from golden import HERE, cases, printed

import nnspec
from nnspec.language.codes import CODES, SOLVING_CODES

ELSEWHERE = {
    "NNS301": "tests/formats: external data outside the folder",
    "NNS302": "tests/formats: operators that are not read",
    "NNS303": "tests/formats: a reader that computes something else",
    "NNS305": "tests/formats: onnx is always installed with nnspec",
}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.stem)
def test_bad_command_prints_the_expected_text(case: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(HERE, tmp_path / "case")
    expected = case.read_text(encoding="utf-8")
    assert printed(case, folder) == expected
    assert case.name[:6] in expected


def test_every_code_has_a_command() -> None:
    shown = {case.name[:6] for case in cases()}
    assert set(SOLVING_CODES) - shown - set(ELSEWHERE) == set(), "these codes have no case here"
    assert shown - set(SOLVING_CODES) == set(), "these codes are not in the catalogue"


def test_every_code_that_is_used_is_in_the_catalogue_and_the_other_way_round() -> None:
    used: set[str] = set()
    for file in Path(nnspec.__file__).parent.rglob("*.py"):
        if file.name != "codes.py":
            used |= set(re.findall(r'"(NNS\d{3})"', file.read_text(encoding="utf-8")))
    assert used - set(CODES) - set(SOLVING_CODES) == set()
    assert set(SOLVING_CODES) - used == set()
