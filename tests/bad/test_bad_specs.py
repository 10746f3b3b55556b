"""Every error code has a small bad spec here, and every bad spec gives the text that is written beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from update import HERE, bad_specs, found_in, rendered

import nnspec.language
from nnspec.language.codes import CODES


@pytest.mark.parametrize("spec", bad_specs(), ids=lambda spec: spec.stem)
def test_bad_spec_gives_the_expected_text(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    expected = spec.with_suffix(".expected")
    assert expected.exists(), "run python tests/bad/update.py and read what it writes"
    assert rendered(spec) == expected.read_text(encoding="utf-8")
    assert spec.name[:6] in [found.code for found in found_in(spec)]


def test_every_code_has_a_bad_spec() -> None:
    shown = {spec.name[:6] for spec in bad_specs()}
    assert set(CODES) - shown == set(), "these codes have no spec in tests/bad"
    assert shown - set(CODES) == set(), "these codes are not in the catalogue"


def test_every_code_that_is_used_is_in_the_catalogue_and_the_other_way_round() -> None:
    used: set[str] = set()
    for file in Path(nnspec.language.__file__).parent.rglob("*.py"):
        if file.name != "codes.py":
            used |= set(re.findall(r'"(NNS\d{3})"', file.read_text(encoding="utf-8")))
    assert used - set(CODES) == set()
    assert set(CODES) - used == set()
