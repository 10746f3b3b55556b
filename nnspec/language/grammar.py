"""The parser tables of `grammar/nns.lark`.

Building them takes a quarter of a second, too much for every start of a small tool, so they are shipped ready-made in
`tables.json`. They are used only if they were made from this very grammar by this very version of Lark; otherwise they
are built from the grammar. Nothing is cached on the user's disk: Lark's own cache is a pickle, and a pickle that
somebody else could have written must not be loaded.

After a change to the grammar:  python -m nnspec.language.grammar
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lark
from lark.exceptions import UnexpectedToken
from lark.grammar import Rule
from lark.lexer import TerminalDef

from nnspec.language.tree import TreeBuilder

__all__ = ["UnexpectedToken", "parser", "spellings"]

TABLES = Path(__file__).with_name("tables.json")
FOREIGN = ("FOREIGN", "OPEN_STRING", "JUNK")  # terminals of mistakes, in no rule


class _KeepForeign:
    """Lark drops terminals that no rule uses, unless a post-lexer wants them."""

    always_accept = FOREIGN

    def process(self, stream: Iterator[lark.Token]) -> Iterator[lark.Token]:
        return stream


def grammar_text() -> str:
    """The grammar, from the installed package or from the checkout."""
    package = Path(__file__).parents[1]
    places = [package / "grammar" / "nns.lark", package.parent / "grammar" / "nns.lark"]
    return next(place for place in places if place.exists()).read_text(encoding="utf-8")


def build(**options: Any) -> lark.Lark:
    """The parser made from the grammar."""
    return lark.Lark(
        grammar_text(),
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=False,
        postlex=_KeepForeign(),
        transformer=TreeBuilder(),
        **options,
    )


def _origin() -> dict[str, str]:
    return {"grammar": hashlib.sha256(grammar_text().encode()).hexdigest(), "lark": lark.__version__}


def tables() -> str:
    """The text that `tables.json` has to have."""
    data, memo = build().memo_serialize([TerminalDef, Rule])
    for hook in ("transformer", "postlex", "lexer_callbacks", "edit_terminals", "_plugins"):
        data["options"][hook] = None if hook != "_plugins" else {}
    return json.dumps({"origin": _origin(), "data": data, "memo": memo}, separators=(",", ":"), sort_keys=True)


def _with_int_keys(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    return {int(key) if key.isdecimal() else key: value for key, value in pairs}


@cache
def parser() -> lark.Lark:
    """The parser, from the ready-made tables if they fit."""
    try:
        ready = json.loads(TABLES.read_text(encoding="utf-8"), object_pairs_hook=_with_int_keys)
    except (OSError, ValueError):
        return build()
    if ready["origin"] != _origin():
        return build()
    loaded: lark.Lark = lark.Lark._load_from_dict(
        ready["data"], ready["memo"], transformer=TreeBuilder(), postlex=_KeepForeign()
    )
    return loaded


@cache
def spellings() -> dict[str, str]:
    """Terminal -> text, for the terminals that are written in one way only: keywords, brackets, operators."""
    return {t.name: t.pattern.value for t in parser().terminals if t.pattern.type == "str"}


if __name__ == "__main__":
    TABLES.write_text(tables(), encoding="utf-8")
