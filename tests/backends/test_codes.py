"""The codes of compiling and solving are all in the catalogue, and the catalogue has no others."""

import re
from pathlib import Path

import nnspec
from nnspec.language.codes import CODES, SOLVING_CODES

ROOMS = ("encodings", "bounds", "program", "backends", "engines")


def test_codes():
    used: set[str] = set()
    for room in ROOMS:
        for file in (Path(nnspec.__file__).parent / room).rglob("*.py"):
            used |= set(re.findall(r"\bNNS1\d\d\b", file.read_text(encoding="utf-8")))
    assert used - set(CODES) == set(SOLVING_CODES)
