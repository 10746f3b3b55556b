"""Words that the explanations of mistakes know: those that start statements, and what other languages say instead."""

from __future__ import annotations

# What follows the keyword of a statement; anything else means that the word is used as something else.
STARTS = {
    "INCLUDE": {"STRING", "OPEN_STRING"},
    "PARAM": {"NAME"},
    "SET": {"NAME"},
    "LET": {"NAME"},
    "DATA": {"NAME"},
    "NET": {"NAME"},
    "VAR": {"NAME"},
    "BREAK": {"SYMMETRY"},
    "ASSUME": {"NAME"},
    "ENFORCE": {"NAME"},
    "MINIMIZE": None,
    "MAXIMIZE": None,
    "SATISFY": None,
    "CONSTRAINT": None,
}

# Words of other languages for our statements.
SYNONYMS = {
    "min": "minimize", "minimise": "minimize", "max": "maximize", "maximise": "maximize", "objective": "minimize",
    "subject": "constraint", "st": "constraint", "require": "constraint", "parameter": "param", "variable": "var",
    "network": "net", "model": "net", "import": "include", "dataset": "data", "def": "let", "define": "let",
    "const": "let",
}  # fmt: skip

# Operator of another language -> (what to say, terminal and text that were meant).
FOREIGN: dict[str, tuple[str, tuple[str, str] | None]] = {
    "=>": ("write ==> for an implication, or >= for a comparison", None),
    "<=>": ("write an equivalence as two implications: a ==> b and b ==> a", None),
    "===": ("write == for an equality", ("COMPARE", "==")),
    "!==": ("write != for an inequality", ("COMPARE", "!=")),
    "<>": ("write != for an inequality", ("COMPARE", "!=")),
    "&&": ("write `and`", ("AND", "and")),
    "&": ("write `and`", ("AND", "and")),
    "∧": ("write `and`", ("AND", "and")),
    "||": ("write `or`", ("OR", "or")),
    "|": ("write `or`; absolute values are abs(x)", None),
    "∨": ("write `or`", ("OR", "or")),
    "!": ("write `not`", ("NOT", "not")),
    "¬": ("write `not`", ("NOT", "not")),
    "**": ("write ^ for a power", ("CIRCUMFLEX", "^")),
    ":=": ("write = for a definition, == for an equality", ("EQUAL", "=")),
    "=<": ("write <=", ("COMPARE", "<=")),
    "≦": ("write <=", ("COMPARE", "<=")),
    "≧": ("write >=", ("COMPARE", ">=")),
    "...": ("write .. for a range; both ends are included", ("TO", "..")),
    "…": ("write .. for a range; both ends are included", ("TO", "..")),
    "//": ("comments start with #", None),
    "/*": ("comments start with # and end with the line", None),
    "*/": ("comments start with # and end with the line", None),
    "++": ("write + once", None),
    "::": ("write : once", ("COLON", ":")),
    "%": ("there is no such operator; comments start with #", None),
    "→": ("write ->", ("ARROW", "->")),
    "⇒": ("write ==>", ("IMPLIES", "==>")),
    "⟹": ("write ==>", ("IMPLIES", "==>")),
    "∈": ("write `in`", ("IN", "in")),
    "×": ("write *", ("STAR", "*")),
    "·": ("write *", ("STAR", "*")),
    "÷": ("write /", ("SLASH", "/")),
    "−": ("write - (a plain hyphen)", ("MINUS", "-")),
    "–": ("write - (a plain hyphen)", ("MINUS", "-")),
}
