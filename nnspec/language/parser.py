"""Text -> syntax tree, with all syntax errors of the text in one pass.

The text is cut into statements at their keywords (all keywords are reserved, so the cuts are safe), and each piece is
parsed by itself. A mistake with an obvious meaning (`&&`, a misspelt keyword) is reported and read as what was meant;
any other one spoils its statement only.
"""

from __future__ import annotations

from itertools import pairwise

from nnspec.errors import Diagnostic, Source, Span, diagnostic
from nnspec.language import syntax as s
from nnspec.language.collector import no_collection
from nnspec.language.grammar import UnexpectedToken, parser
from nnspec.language.mistakes import Place, explain, first_on_line, is_start, resembles_start
from nnspec.language.tokens import tokenize
from nnspec.language.tree import Problem, Token
from nnspec.language.vocabulary import STARTS

MAX_ERRORS = 50  # more than anybody reads; binary junk would give thousands

OPENING, CLOSING = {"LPAR", "LSQB", "LBRACE"}, {"RPAR", "RSQB", "RBRACE"}


@no_collection()
def parse(source: Source) -> tuple[s.Spec, list[Diagnostic]]:
    """The statements that could be read, and every syntax error, in the order of the text.

    The tree is complete if and only if there are no errors. Its depth is at most `MAX_DEPTH`.
    """
    reader = _Reader(source)
    tokens, _ = tokenize(source)
    for first, last in _statements(tokens):
        if not reader.tired:
            reader.read(tokens[first:last])
    return s.Spec(source, tuple(reader.statements)), reader.errors


def _statements(tokens: list[Token]) -> list[tuple[int, int]]:
    starts = [i for i in range(len(tokens)) if i == 0 or is_start(tokens, i)]
    return list(zip(starts, [*starts[1:], len(tokens)]))


class _Reader:
    def __init__(self, source: Source):
        self.source = source
        self.statements: list[s.Statement] = []
        self.errors: list[Diagnostic] = []

    @property
    def tired(self) -> bool:
        return len(self.errors) >= MAX_ERRORS

    def read(self, tokens: list[Token]) -> None:
        """Read the tokens of one statement; of several, where the cut was missed because of a mistake."""
        found = _too_deep(tokens) or _glued_number(tokens)
        if found:
            self.errors.append(found)
            return
        while tokens and not self.tired:
            tokens = self._read_one(tokens)

    def _read_one(self, tokens: list[Token]) -> list[Token]:
        """Read the first statement of these tokens; what is left to be read after it."""
        state = parser().parse_interactive()
        last = tokens[-1].span.end
        end = Token("$END", Span(self.source, last, last), "")
        index = 0
        try:
            for index, token in enumerate([*tokens, end]):
                if index and is_start(tokens, index, surely=False) and "$END" in state.accepts():
                    self._keep(state.feed_token(end), tokens)  # type: ignore[arg-type]  # any object with a `type` will do
                    return tokens[index:]
                try:
                    result = state.feed_token(token)  # type: ignore[arg-type]
                except UnexpectedToken:
                    accepted = state.accepts()
                    mistake = explain(Place(tokens, index, frozenset(accepted)))
                    self.errors.append(mistake.found)
                    meant = mistake.meant and Token(mistake.meant[0], token.span, mistake.meant[1])
                    if meant and not self.tired and not (index and meant.type in STARTS):
                        result = state.feed_token(meant)  # type: ignore[arg-type]
                        continue
                    # what ends here may be complete, unless more of it stands on the same line
                    if "$END" in accepted and first_on_line(tokens, index):
                        self._keep(state.feed_token(end), tokens)  # type: ignore[arg-type]
                    return [meant, *tokens[index + 1 :]] if meant else _resume(tokens, index)
        except Problem as problem:
            self.errors.append(problem.found)
            return _resume(tokens, index)
        self._keep(result, tokens)
        return []

    def _keep(self, statements: tuple[s.Statement, ...], tokens: list[Token]) -> None:
        if len(tokens) > s.MAX_DEPTH:  # each level of nesting needs a token
            deep = _first_too_deep(statements)
            if deep is not None:
                self.errors.append(_nesting(deep.span))
                return
        self.statements += statements


def _resume(tokens: list[Token], index: int) -> list[Token]:
    """The tokens from the next place at or after a mistake where a statement may start that was not seen before."""
    if index and is_start(tokens, index, surely=False):
        return tokens[index:]
    places = range(index + 1, len(tokens))
    return next((tokens[i:] for i in places if first_on_line(tokens, i) and resembles_start(tokens, i)), [])


def _glued_number(tokens: list[Token]) -> Diagnostic | None:
    """`1.`, `2x`, `1.e5`: a number that runs into what follows; some of them would parse."""
    for token, after in pairwise(tokens):
        if token.type == "NUMBER" and token.span.end == after.span.start:
            span = token.span.to(after.span)
            if after.type == "DOT":
                fix = f"write {token.text}.0, or {token.text}..high for a range"
                return diagnostic("NNS007", "a number needs digits on both sides of the dot", span, help=fix)
            if after.text.isidentifier():
                fix = f"write {token.text} * {after.text} for a product; names start with a letter"
                return diagnostic("NNS007", "a number runs into a word", span, help=fix)
    return None


def _nesting(span: Span) -> Diagnostic:
    return diagnostic(
        "NNS009", f"more than {s.MAX_DEPTH} levels of nesting", span, help="name the inner parts with `let`"
    )


def _too_deep(tokens: list[Token]) -> Diagnostic | None:
    """Brackets inside each other, which the tree does not show."""
    depth = 0
    for token in tokens:
        if token.type in OPENING:
            depth += 1
            if depth > s.MAX_DEPTH:
                return _nesting(token.span)
        elif token.type in CLOSING:
            depth -= 1
    return None


def _first_too_deep(statements: tuple[s.Statement, ...]) -> s.Node | None:
    """A node that lies too deep. Without recursion, since this is what makes recursion safe elsewhere."""
    level: list[s.Node] = list(statements)
    for _ in range(s.MAX_DEPTH):
        level = [child for node in level for child in s.children(node)]
        if not level:
            return None
    return level[0]
