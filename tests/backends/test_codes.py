"""The codes of compiling and solving are all in the catalogue, and the catalogue has no others."""

import re
from pathlib import Path

import nnspec
from nnspec.language.codes import CODES, SOLVING_CODES


def test_codes():
    used: set[str] = set()
    package = Path(nnspec.__file__).parent
    for file in package.rglob("*.py"):
        if file.relative_to(package).parts[0] != "language":
            used |= set(re.findall(r'"(NNS\d\d\d)"', file.read_text(encoding="utf-8")))
    assert used - set(CODES) == set(SOLVING_CODES)
