"""The layout of one statement: brackets and operators, spaces, and where lines break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from nnspec.language.tree import ASCII_OPERATORS, Token

WIDTH = 100
INDENT = 2

OPEN = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
OPERAND_END = {"NAME", "NUMBER", "STRING", "RPAR", "RSQB", "RBRACE"}
ARITHMETIC = {"PLUS", "MINUS", "STAR", "SLASH"}

# Where a line may break, before the token (after it for commas), loosest first.
LEVELS: list[set[str]] = [
    {"WITH", "FREE", "FOR", "UNDER", "FILTER"},
    {"ARROW"},
    {"COMMA"},
    {"THEN", "ELSE"},
    {"IMPLIES"},
    {"OR"},
    {"AND"},
    {"COMPARE"},
    {"PLUS", "MINUS"},
    {"STAR", "SLASH"},
]

Comments = tuple[str | None, list[str]]  # at the end of the line; on lines of their own below


@dataclass(slots=True)
class Leaf:
    """A token as it is written, with the comments after it. Unary minus is "NEGATIVE", an `if` after `for` "FILTER"."""

    type: str
    text: str
    comments: Comments
    space: bool = False  # before it, if it does not start a line

    @property
    def flat(self) -> str | None:
        return None if self.comments[0] is not None or self.comments[1] else self.text

    @property
    def last(self) -> Leaf:
        return self


@dataclass(slots=True)
class Group:
    """A pair of brackets and what is inside: elements that end with their comma, or the entries of a graph.

    `flat` is its text on one line, or None if it has to be broken: a graph, or comments inside. Comments after the
    closing bracket are not inside.
    """

    open: Leaf
    elements: list[list[Leaf | Group]]
    close: Leaf
    graph: bool = False
    type: str = "GROUP"
    flat: str | None = field(init=False)

    def __post_init__(self) -> None:
        inner = [_flat(element) for element in self.elements if element[-1].last.flat is not None]
        flat = " ".join(text for text in inner if text is not None)
        plain = not self.graph and self.open.flat is not None and None not in inner
        self.flat = self.open.text + flat + self.close.text if plain and len(inner) == len(self.elements) else None

    @property
    def space(self) -> bool:
        return self.open.space

    @property
    def last(self) -> Leaf:
        return self.close


Sequence = list[Leaf | Group]


def _flat(items: Sequence) -> str | None:
    """The items on one line, or None if comments (other than those after the last item) forbid it."""
    parts = []
    for index, item in enumerate(items):
        inside = item.text if isinstance(item, Leaf) else item.flat
        if inside is None or (index < len(items) - 1 and item.last.flat is None):
            return None
        parts.append(" " + inside if item.space and index else inside)
    return "".join(parts)


# --- from tokens to brackets -----------------------------------------------------------------------------------------


def arrange(tokens: list[Token], comments: list[Comments]) -> Sequence:
    """The tokens of a statement as nested brackets; `comments[i]` come after `tokens[i]`."""
    leaves = [Leaf(_role(tokens, i), ASCII_OPERATORS.get(t.text, t.text), comments[i]) for i, t in enumerate(tokens)]
    for before, leaf in pairwise(leaves):
        leaf.space = _space(before, leaf)
    stack: list[Sequence] = [[]]
    for index, leaf in enumerate(leaves):
        if leaf.type in OPEN:
            stack.append([leaf])
        elif leaf.type in OPEN.values():
            first, *inside = stack.pop()
            assert isinstance(first, Leaf)
            graph = leaf.type == "RBRACE" and len(stack) == 1 and tokens[0].type == "NET" and len(stack[0]) == 2
            elements = _entries(inside) if graph else _elements(_range_spaces(inside))
            stack[-1].append(Group(first, elements, leaf, graph))
            if graph and index + 1 < len(leaves):
                leaves[index + 1].space = True
        else:
            stack[-1].append(leaf)
    return _range_spaces(stack[0])


def _role(tokens: list[Token], index: int) -> str:
    token = tokens[index]
    after_operand = index > 0 and tokens[index - 1].type in OPERAND_END
    if token.type == "MINUS" and not after_operand:
        return "NEGATIVE"
    if token.type == "IF" and after_operand:
        return "FILTER"
    return token.type


def _space(before: Leaf, leaf: Leaf) -> bool:
    tight = {"DOT", "TO", "CIRCUMFLEX"}
    if before.type in OPEN or leaf.type in OPEN.values() or before.type in tight or leaf.type in tight:
        return False
    if leaf.type in {"COMMA", "COLON"} or before.type == "NEGATIVE":
        return False
    return not (leaf.type in {"LPAR", "LSQB"} and before.type in OPERAND_END)


def _range_spaces(items: Sequence) -> Sequence:
    """`0..n`, but `0 .. n - 1`: a range of sums is spaced, since `..` binds looser."""
    for index, item in enumerate(items):
        if item.type == "TO" and (_arithmetic(items[:index][::-1]) or _arithmetic(items[index + 1 :])):
            for leaf in (item, items[index + 1]):
                first = leaf if isinstance(leaf, Leaf) else leaf.open
                first.space = True
    return items


def _arithmetic(items: Sequence) -> bool:
    """Whether an operand of a range, read outwards from `..`, is a sum or a product."""
    inside = {"NAME", "NUMBER", "STRING", "GROUP", "DOT", "CIRCUMFLEX", "NEGATIVE"}
    for item in items:
        if item.type in ARITHMETIC:
            return True
        if item.type not in inside:
            return False
    return False


def _elements(items: Sequence) -> list[Sequence]:
    """Split at commas, each element with its comma; a comprehension is one element."""
    if not items:
        return []
    if any(item.type == "FOR" for item in items):
        return [items]
    elements: list[Sequence] = [[]]
    for index, item in enumerate(items):
        elements[-1].append(item)
        if item.type == "COMMA" and index < len(items) - 1:
            elements.append([])
    return elements


def _entries(items: Sequence) -> list[Sequence]:
    """The entries of a graph: each starts with a name and a colon."""
    starts = [i for i in range(len(items) - 1) if items[i + 1].type == "COLON"]
    return [items[first:last] for first, last in zip(starts, [*starts[1:], len(items)])]


# --- from brackets to lines ------------------------------------------------------------------------------------------


class Writer:
    """Writes one statement. `lines` has no comments of the last token: they belong to the page."""

    def __init__(self) -> None:
        self.lines = [""]
        self.must_break = False  # a comment ended the line

    def statement(self, items: Sequence) -> None:
        if len(items) > 3 and isinstance(items[2], Group) and items[2].graph:
            self._sequence(items[:3], 0, 0)  # ends with a closing brace, on whose line the settings go on
            self._sequence(items[3:], 0, 0)
        else:
            self._sequence(items, 0, 0)

    def _break(self, indent: int) -> None:
        """Start a new line, unless the last one is still empty."""
        if self.lines[-1].strip():
            self.lines.append("")
        self.lines[-1] = " " * indent
        self.must_break = False

    def _text(self, text: str, space: bool, indent: int) -> None:
        if self.must_break:
            self._break(indent)
        started = bool(self.lines[-1].strip())
        self.lines[-1] += (" " if space and started else "") + text

    def _comments(self, comments: Comments, indent: int) -> None:
        trailing, own = comments
        if trailing is not None:
            self.lines[-1] += "  " + trailing
        for comment in own:
            self._break(indent)
            self.lines[-1] += comment.rstrip()
        self.must_break = self.must_break or trailing is not None or bool(own)

    def _leaf(self, leaf: Leaf, indent: int) -> None:
        self._text(leaf.text, leaf.space, indent)
        self._comments(leaf.comments, indent)

    def _fits(self, flat: str | None, space: bool, tail: int) -> bool:
        """Whether a text and `tail` columns after it fit on the line."""
        return flat is not None and not self.must_break and len(self.lines[-1]) + space + len(flat) + tail <= WIDTH

    def _sequence(self, items: Sequence, indent: int, tail: int) -> None:
        """Items from the current column on; further lines are indented by one step more than `indent`."""
        if not items:
            return
        flat = _flat(items)
        if flat is not None and self._fits(flat, items[0].space, tail):
            self._text(flat, items[0].space, indent)
            self._comments(items[-1].last.comments, indent)
            return
        pieces = _split(items)
        if len(pieces) > 1:
            for index, piece in enumerate(pieces):
                if index:
                    self._break(indent + INDENT)
                self._sequence(piece, indent + INDENT if index else indent, tail if index == len(pieces) - 1 else 0)
            return
        for index, item in enumerate(items):
            if isinstance(item, Leaf):
                self._leaf(item, indent + INDENT)
            elif self._fits(item.flat, item.space, _up_to_break(items[index + 1 :], tail)):
                self._text(item.flat or "", item.space, indent + INDENT)
                self._comments(item.close.comments, indent + INDENT)
            else:
                self._group(item, indent)

    def _group(self, group: Group, indent: int) -> None:
        inner = indent + INDENT
        self._text(group.open.text, group.open.space, inner)
        self._comments(group.open.comments, inner)
        if _fills(group):
            self._fill(group, inner)
        else:
            for element in group.elements:
                self._break(inner)
                self._sequence(element, inner, 0)
        self._break(indent)
        self._text(group.close.text, False, indent)
        self._comments(group.close.comments, inner)

    def _fill(self, group: Group, indent: int) -> None:
        """As many short elements on a line as fit."""
        self._break(indent)
        for element in group.elements:
            flat = _flat(element) or ""
            if not self._fits(flat, True, 0):
                self._break(indent)
            self._text(flat, True, indent)


def _up_to_break(items: Sequence, tail: int) -> int:
    """Columns from here to the next place where the line may break: an opening bracket, or the end."""
    columns = 0
    for item in items:
        if isinstance(item, Group):
            return columns + item.space + 1
        columns += item.space + len(item.text)
        if columns > WIDTH:
            break
    return columns + tail


def _fills(group: Group) -> bool:
    """Long lists of numbers and names."""
    short = {"NUMBER", "NAME", "STRING", "NEGATIVE", "COMMA"}
    return group.open.type != "LPAR" and all(
        _flat(element) is not None and element[-1].last.flat is not None and {item.type for item in element} <= short
        for element in group.elements
    )


def _split(items: Sequence) -> list[Sequence]:
    """Pieces at the loosest operators of a sequence; one piece if there are none."""
    for level in LEVELS:
        if level == {"COMMA"} and items[0].type == "DATA":
            continue
        pieces = list(_pieces(items, level))
        if len(pieces) > 1:
            return pieces
    return [items]


def _pieces(items: Sequence, level: set[str]) -> Iterator[Sequence]:
    piece: Sequence = []
    for index, item in enumerate(items):
        after_comma = index > 0 and items[index - 1].type == "COMMA" and "COMMA" in level
        if piece and (after_comma or (item.type in level and item.type != "COMMA")):
            yield piece
            piece = []
        piece.append(item)
    yield piece
