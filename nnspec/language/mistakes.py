"""What a syntax error is about, in the reader's words: from the token where the parser stopped to a diagnostic.

`explain` also says what was meant, where that is beyond doubt, so that the rest of the statement can be read.
"""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from nnspec.errors import Diagnostic, Label, Span, diagnostic
from nnspec.language.grammar import spellings
from nnspec.language.tree import Token
from nnspec.language.vocabulary import FOREIGN, STARTS, SYNONYMS

BRACKETS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
OPERAND = {"NUMBER", "NAME", "STRING", "LPAR", "LSQB", "LBRACE", "MINUS", "NOT", "IF"}
OPERATOR = {"PLUS", "MINUS", "STAR", "SLASH", "CIRCUMFLEX", "COMPARE", "TO", "IMPLIES", "AND", "OR"}
FOLLOWS_OPERAND = OPERATOR | {"IN", "DOT", "LPAR", "LSQB"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the parser stopped: the tokens of the statement, the index of the offending one, and what may stand there.

    The index is `len(tokens)` if it was the end that came too early.
    """

    tokens: list[Token]
    index: int
    accepted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A diagnostic, and the terminal and text that were meant in place of the offending token, if that is clear."""

    found: Diagnostic
    meant: tuple[str, str] | None = None


def first_on_line(tokens: list[Token], index: int) -> bool:
    """Nothing but white space before this token on its line."""
    span = tokens[index].span
    before = span.source.text[tokens[index - 1].span.end : span.start] if index else "\n"
    return "\n" in before


def is_start(tokens: list[Token], index: int, surely: bool = True) -> bool:
    """Whether a statement starts here: at its keyword, unless the word is used as something else (`x = [data, y]`).

    With `surely=False` the keyword is enough.
    """
    if index >= len(tokens) or tokens[index].type not in STARTS:
        return False
    follows = STARTS[tokens[index].type]
    if follows is None or not surely:
        return True
    after = tokens[index + 1].type if index + 1 < len(tokens) else "$END"
    return after in follows or (first_on_line(tokens, index) and after in spellings() and spellings()[after].isalpha())


def resembles_start(tokens: list[Token], index: int) -> bool:
    """Whether a misspelt keyword starts a statement here."""
    word = _statement_like(tokens[index])
    if word is None or index + 1 >= len(tokens):
        return False
    follows = STARTS[word.upper()]
    return tokens[index + 1].type in (follows or OPERAND)


def _statement_like(token: Token) -> str | None:
    if token.type != "NAME":
        return None
    return closest(token.text, tuple(start.lower() for start in STARTS), starting=True)


@lru_cache(maxsize=1000)
def closest(word: str, known: tuple[str, ...], starting: bool) -> str | None:
    """The known word that was probably meant; words of other languages count only at the start of a statement."""
    word = word.lower()
    if starting and word in SYNONYMS:
        return SYNONYMS[word]
    return next(iter(difflib.get_close_matches(word[:40], known, n=1, cutoff=0.7)), None)


def explain(place: Place) -> Mistake:
    """What is wrong at a place. The first explanation that fits is taken; the last one always does."""
    if place.index == len(place.tokens):
        return Mistake(_bracket(place) or _unfinished(place))
    token = place.tokens[place.index]
    for attempt in (_not_a_token, _number, _reserved, _bracket, _definition, _misspelt):
        answer = attempt(place)
        if answer is not None:
            return answer if isinstance(answer, Mistake) else Mistake(answer)
    if token.type in STARTS and "$END" not in place.accepted:
        return Mistake(_unfinished(place))
    return Mistake(_unexpected(place))


def _not_a_token(place: Place) -> Mistake | None:
    token = place.tokens[place.index]
    if token.type == "FOREIGN" or (token.type == "JUNK" and token.text in FOREIGN):
        fix, meant = FOREIGN.get(token.text, ("there is no such operator", None))
        if meant and meant[0] not in place.accepted:
            meant = None
        return Mistake(
            diagnostic("NNS004", f"`{token.text}` is no operator of this language", token.span, help=fix), meant
        )
    if token.type == "OPEN_STRING":
        start = Span(token.span.source, token.span.start, token.span.start + 1)
        return Mistake(diagnostic("NNS006", "this string does not end", start, help='close it with " on the same line'))
    if token.type == "JUNK":
        quotes = 'strings are in double quotes: "house.csv"' if token.text in "'“”„`" else None
        found = diagnostic("NNS016", f"{_character(token.text)} has no meaning here", token.span, help=quotes)
        return Mistake(found)
    return None


def _character(text: str) -> str:
    if text.isprintable():
        return f"`{text}`" if text != "`" else "a backquote"
    name = unicodedata.name(text, "")
    return f"the character U+{ord(text):04X}" + (f" ({name.lower()})" if name else "")


def _number(place: Place) -> Diagnostic | None:
    """`.5`; the other malformed numbers are found before parsing, as some of them would parse."""
    token, rest = place.tokens[place.index], place.tokens[place.index + 1 :]
    if token.type == "DOT" and rest and rest[0].type == "NUMBER" and rest[0].span.start == token.span.end:
        span, fix = token.span.to(rest[0].span), f"write 0.{rest[0].text}"
        return diagnostic("NNS007", "a number needs digits on both sides of the dot", span, help=fix)
    if token.type == "NUMBER" and place.index and place.tokens[place.index - 1].type == "DOT":
        return diagnostic("NNS007", "a name cannot start with a digit", token.span)
    return None


def _reserved(place: Place) -> Mistake | None:
    token = place.tokens[place.index]
    if "NAME" not in place.accepted or "$END" in place.accepted or not token.text.isalpha() or token.type == "NAME":
        return None
    if is_start(place.tokens, place.index) or (token.type in STARTS and first_on_line(place.tokens, place.index)):
        return None
    if "NUMBER" in place.accepted:
        fix = f'choose another name; a column of a file may be written as a string: "{token.text}"'
    else:
        fix = "choose another name"
    message = f"`{token.text}` is a reserved word and cannot be a name"
    return Mistake(diagnostic("NNS008", message, token.span, help=fix), ("NAME", token.text))


def _bracket(place: Place) -> Diagnostic | None:
    """The first bracket of the statement without its partner, if it opens before the place of the error."""
    opened: list[Token] = []
    for index, token in enumerate(place.tokens):
        if token.type in BRACKETS:
            opened.append(token)
        elif token.type in BRACKETS.values():
            if not opened:
                if index > place.index:
                    return None
                return diagnostic("NNS005", f"`{token.text}` closes nothing", token.span, help="remove it")
            start = opened.pop()
            if BRACKETS[start.type] != token.type:
                return _unclosed(start, token) if place.tokens.index(start) < place.index else None
    if opened and place.tokens.index(opened[-1]) < place.index:
        return _unclosed(opened[-1])
    return None


def _unclosed(start: Token, instead: Token | None = None) -> Diagnostic:
    partner = spellings()[BRACKETS[start.type]]
    more = [Label(instead.span, f"`{partner}` should come before this")] if instead else []
    return diagnostic(
        "NNS005", f"`{start.text}` is never closed", start.span, "opened here", *more, help=f"add `{partner}`"
    )


def _definition(place: Place) -> Mistake | None:
    token = place.tokens[place.index]
    if token.type == "EQUAL" and "COMPARE" in place.accepted:
        message = "`=` defines a name, it does not compare"
        return Mistake(diagnostic("NNS002", message, token.span, help="write == for an equality"), ("COMPARE", "=="))
    return None


def _misspelt(place: Place) -> Mistake | None:
    token = place.tokens[place.index]
    if token.type != "NAME":
        return None
    starting = "$END" in place.accepted and (place.index == 0 or first_on_line(place.tokens, place.index))
    words = {text: type_ for type_, text in spellings().items() if type_ in place.accepted and text.isalpha()}
    guess = closest(token.text, tuple(words), starting)
    if guess not in words:
        guess = None
    if guess is None and not starting:
        return None
    if guess is None:
        return Mistake(
            diagnostic(
                "NNS003", f"no statement starts with `{token.text}`", token.span,
                help="statements start with " + _listed([start.lower() for start in STARTS], "or"),
            )
        )  # fmt: skip
    code, what = ("NNS003", "no statement starts with") if words[guess] in STARTS else ("NNS002", "unexpected")
    found = diagnostic(code, f"{what} `{token.text}`", token.span, help=f"did you mean `{guess}`?")
    readable = words[guess] not in STARTS or resembles_start(place.tokens, place.index)
    return Mistake(found, (words[guess], guess) if readable else None)


def _unfinished(place: Place) -> Diagnostic:
    last = place.tokens[place.index - 1].span
    keyword = place.tokens[0].text
    message = f"`{keyword}` is not finished" if place.tokens[0].type in STARTS else "the statement is not finished"
    return diagnostic("NNS014", message, Span(last.source, last.end, last.end), f"expected {expected(place.accepted)}")


def _unexpected(place: Place) -> Diagnostic:
    token = place.tokens[place.index]
    label = f"expected {expected(place.accepted)}"
    return diagnostic("NNS002", f"unexpected `{token.text}`", token.span, label, help=_habit(place))


def _habit(place: Place) -> str | None:
    """How to write what is written so in other languages, or in a neighbouring form of this one."""
    token, statement = place.tokens[place.index], place.tokens[0].type
    before = place.tokens[place.index - 1] if place.index else None
    if before is None:
        return None
    if (
        token.type in {"NAME", "NUMBER", "LPAR"}
        and before.type in {"NAME", "NUMBER", "RPAR"}
        and "STAR" in place.accepted
    ):
        return "a product needs `*`"
    if token.type == "LBRACE" and statement == "NET" and before.type == "EQUAL":
        return "the graph form has no `=`: net f { x: input(2) ... }"
    if token.type == "LBRACE" and before.type == "NAME":
        return f"write {before.text}(... for i in S)"
    if token.type == "COMPARE" and statement in {"VAR", "PARAM"}:
        return "a range is written with `in`: in 0..10"
    return None


def expected(accepted: frozenset[str]) -> str:
    """What may stand at a place, in words."""
    words: list[str] = []
    rest = set(accepted)
    if {"NUMBER", "LPAR"} <= rest:
        words.append("an expression")
        rest -= OPERAND
    elif rest >= OPERATOR:
        words.append("an operator")
        rest -= FOLLOWS_OPERAND
    if "$END" in rest:
        words.append("the next statement")
        rest -= {"$END", "SEMICOLON", *STARTS}
    names = {"NAME": "a name", "STRING": "a string", "NUMBER": "a number", "COMPARE": "a comparison"}
    words += [names[type_] for type_ in sorted(rest & set(names))]
    words += sorted(f"`{spellings()[type_]}`" for type_ in rest if type_ in spellings())
    return _listed(words, "or") or "the end of the text"


def _listed(words: list[str], last: str) -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
