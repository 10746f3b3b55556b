"""Random specs as lists of tokens, for property tests. Every list is a correct spec as far as syntax goes."""

from __future__ import annotations

from hypothesis import strategies as st

Tokens = list[str]

NAMES = st.sampled_from(["x", "y", "f", "h1", "D", "train", "größe", "n_2", "label", "名前", "int", "binary", "l0"])
NUMBERS = st.sampled_from(["0", "1", "42", "0.5", "3.25", "1e3", "2.5E-3", "100000000000"])
STRINGS = st.sampled_from(['"a.csv"', '""', '"with # and \\" inside"', '"ä"', '"a very long string, longer than most"'])


def _join(parts: list[Tokens], separator: str) -> Tokens:
    joined: Tokens = []
    for index, part in enumerate(parts):
        joined += [separator, *part] if index and separator else part
    return joined


@st.composite
def _separated(draw: st.DrawFn, element: st.SearchStrategy[Tokens], separator: str = ",", least: int = 1) -> Tokens:
    return _join(draw(st.lists(element, min_size=least, max_size=4)), separator)


def one(tokens: st.SearchStrategy[str]) -> st.SearchStrategy[Tokens]:
    return tokens.map(lambda token: [token])


def cat(*parts: str | st.SearchStrategy[Tokens]) -> st.SearchStrategy[Tokens]:
    """Parts after each other; strings are tokens separated by spaces."""
    strategies = [st.just(part.split()) if isinstance(part, str) else part for part in parts]
    return st.tuples(*strategies).map(lambda lists: [token for tokens in lists for token in tokens])


def maybe(*parts: str | st.SearchStrategy[Tokens]) -> st.SearchStrategy[Tokens]:
    return st.one_of(st.just([]), cat(*parts))


def _generators(expr: st.SearchStrategy[Tokens]) -> st.SearchStrategy[Tokens]:
    pattern = st.one_of(one(NAMES), cat("(", _separated(one(NAMES), least=2), ")"))
    return cat(_separated(cat(pattern, "in", _parts(expr))), maybe("if", _parts(expr)))


def _parts(expr: st.SearchStrategy[Tokens]) -> st.SearchStrategy[Tokens]:
    """Something that may stand anywhere: an atom or an expression in parentheses."""
    return st.one_of(one(NAMES), one(NUMBERS), cat("(", expr, ")"), cat("{", _separated(one(NUMBERS)), "}"))


def _extend(expr: st.SearchStrategy[Tokens]) -> st.SearchStrategy[Tokens]:
    part = _parts(expr)
    keyword = cat(one(NAMES), "=", expr)
    call = st.one_of(
        cat(one(NAMES), "(", ")"),
        cat(one(NAMES), "(", _separated(expr), maybe(","), ")"),
        cat(one(NAMES), "(", expr, ",", one(st.sampled_from(["scale", "seed"])), "=", expr, ")"),
        cat(one(NAMES), "(", keyword, ")"),
        cat(one(NAMES), "(", expr, "for", _generators(expr), ")"),
    )
    operator = one(
        st.sampled_from(["+", "-", "*", "/", "and", "or", "==>", "<=", ">=", "≤", "≥", "≠", "==", "<", "in"])
    )
    return st.one_of(
        cat(expr, operator, expr),
        cat(part, "..", part),
        cat("-", part),
        cat("not", part),
        cat(part, "^", part),
        cat("(", "if", expr, "then", expr, "else", expr, ")"),
        cat("[", _separated(expr, least=0), "]"),
        cat("{", _separated(expr), maybe(","), "}"),
        cat("[", expr, "for", _generators(expr), "]"),
        cat(one(NAMES), "[", _separated(expr), "]"),
        cat(call, ".", one(NAMES)),
        call,
    )


def _well_formed(tokens: Tokens) -> bool:
    """`a .. b` is looser than sums but may not be chained, and `not` may not follow a tighter operator."""
    from nnspec.errors import Source
    from nnspec.language.parser import parse

    return not parse(Source("<string>", "let x = " + " ".join(tokens)))[1]


EXPRESSIONS = st.recursive(st.one_of(one(NAMES), one(NUMBERS), one(STRINGS)), _extend, max_leaves=12).filter(
    _well_formed
)

_RANGES = st.one_of(
    cat("-4..4".replace("..", " .. ").replace("-", "- ")),
    cat("int ( - 8 .. 8 )"),
    cat("{ - 1 , 0 , 1 }"),
    cat("binary"),
)
_SETTINGS = st.one_of(cat("weights in", _RANGES), cat("biases in", _RANGES), cat("bias = none"), cat("l0 <= 6"))


@st.composite
def _different_settings(draw: st.DrawFn) -> Tokens:
    settings = draw(st.lists(_SETTINGS, min_size=1, max_size=4, unique_by=lambda tokens: tokens[0]))
    return _join(settings, ",")


_WITH = maybe("with", _different_settings())
_LAYERS = st.one_of(
    cat("input ( 2 )"), cat("input ( )"), cat("flatten"), cat("dense ( 3 , relu )"), cat("activation ( tanh )"),
    cat("conv ( 8 , 3 , stride = 2 , padding = 1 , relu )"), cat("dense ( 4 ,", _different_settings(), ")"),
    cat("dense ( 4 , relu with", _different_settings(), ")"),
)  # fmt: skip
_LABEL = maybe(one(NAMES), ":")
_GROUPS = st.one_of(
    cat("swap ( 0 , 1 )"), cat("cyclic ( 4 )"), cat("permutations ( 0 .. 3 )"), cat("group ( [ 1 , 0 ] )")
)

STATEMENTS = st.one_of(
    cat("include", one(STRINGS)),
    cat("param", one(NAMES), maybe(": real"), maybe("in 0 .. 1"), maybe("=", EXPRESSIONS)),
    cat("set", one(NAMES), "=", EXPRESSIONS),
    cat("let", one(NAMES), "=", EXPRESSIONS),
    cat("data", _separated(one(NAMES)), "=", EXPRESSIONS),
    cat("net f =", _separated(cat(_LABEL, _LAYERS), "->"), _WITH),
    cat("net f {", _separated(cat(one(NAMES), ":", _LAYERS), ";"), "}", _WITH),
    cat("net f {", _separated(cat(one(NAMES), ":", _LAYERS, maybe(",")), ""), "}", _WITH),
    cat('net f = onnx ( "f.onnx" )', maybe('free "a" , "b"'), _WITH),
    cat("var", one(NAMES), maybe("[", _generators(EXPRESSIONS), "]"), maybe(": int"), maybe("in 0 .. 10")),
    cat(one(st.sampled_from(["minimize", "maximize"])), _LABEL, EXPRESSIONS),
    cat("satisfy"),
    cat("constraint", _LABEL, EXPRESSIONS, maybe("for", _generators(EXPRESSIONS))),
    cat("break symmetry f", maybe(". h"), ": permutation , signflip"),
    cat("assume D invariant under", _GROUPS),
    cat("enforce f invariant under", _GROUPS),
    cat("enforce f equivariant under", _GROUPS, maybe("->", _GROUPS)),
)  # fmt: skip

_GAPS = st.sampled_from(
    [" ", " ", " ", " ", "  ", "\n", "\n\n\n", "\t", " # a comment\n", "\n# on its own line\n", "#\n"]
)


@st.composite
def specs(draw: st.DrawFn) -> str:
    """The text of a spec, with white space, comments and semicolons in all places."""
    statements = draw(st.lists(cat(STATEMENTS, maybe(";")), max_size=5))
    tokens = [token for statement in statements for token in statement]
    # gaps are drawn few at a time, as most of a text is plain
    wild = draw(st.dictionaries(st.integers(0, max(len(tokens), 1)), _GAPS, max_size=8))
    pieces = [wild.get(0, "")]
    for index, token in enumerate(tokens):
        pieces += [token, wild.get(index + 1, " ")]
    return "".join(pieces)
