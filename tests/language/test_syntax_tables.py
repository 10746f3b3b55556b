"""The tables that the parser is shipped with, and the scanner, against Lark's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_syntax import FORMS, read

from nnspec.errors import Source
from nnspec.language import grammar, tokens


def test_the_grammar_has_no_conflicts() -> None:
    pytest.importorskip("interegular")
    grammar.build(strict=True)


def test_the_shipped_tables_belong_to_the_grammar() -> None:
    origin = json.loads(grammar.TABLES.read_text(encoding="utf-8"))["origin"]
    assert origin["grammar"] == grammar._origin()["grammar"], "run python -m nnspec.language.grammar"


def _clear() -> None:
    for cached in (grammar.parser, grammar.spellings, tokens._pattern, tokens._keywords):
        cached.cache_clear()


@pytest.mark.parametrize("content", ["", "{", '{"origin": 1}', '{"origin": {"grammar": "?", "lark": "?"}}'])
def test_the_grammar_is_built_if_no_tables_fit(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(FORMS)
    broken = tmp_path / "tables.json"
    broken.write_text(content)
    _clear()
    try:
        monkeypatch.setattr(grammar, "TABLES", broken)
        assert read(FORMS) == expected
    finally:
        _clear()


PIECES = st.sampled_from([
    "=", "=>", "==>", "==", "!=", "!", "<=", "=<", "<", ">", "..", "...", ".", "1", "12", "0.5", "1e5", "e5", "in",
    "inD", "for", "data", "database", "**", "*", "/", "//", "#", "->", "-", "+", "++", ":=", "::", ":", "&&", "&", "||",
    "|", '"', "\\", '"a"', "'a'", "(", ")", "[", "]", "{", "}", ",", ";", "≤", "≥", "≠", "é", "e\u0301", "²", "＠", " ",
    "\n", "\r", "\t", "\x00", "\u2028",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(PIECES).map("".join), st.text()))
def test_the_scanner_gives_the_tokens_of_lark(text: str) -> None:
    source = Source("<string>", text)
    ours = [(token.type, token.span.start, token.text) for token in tokens.tokenize(source)[0]]
    assert ours == [(token.type, token.start_pos, str(token)) for token in grammar.parser().lex(text)]
