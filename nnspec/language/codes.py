"""The catalogue of error codes: code -> what it is about.

NNS001-NNS019 syntax and files, NNS020-NNS149 the checker. Codes are stable: a code is never given another meaning.
Each one has a small spec in tests/bad that shows it.
"""

CODES: dict[str, str] = {
    "NNS001": "text that cannot be read",
    "NNS002": "unexpected text",
    "NNS003": "unknown statement",
    "NNS004": "operator of another language",
    "NNS005": "bracket without its partner",
    "NNS006": "string without its end",
    "NNS007": "malformed number",
    "NNS008": "reserved word used as a name",
    "NNS009": "nesting too deep",
    "NNS010": "file cannot be read",
    "NNS011": "file outside the folder of the spec",
    "NNS012": "includes in a circle",
    "NNS013": "wrong arguments in a call",
    "NNS014": "statement is not finished",
    "NNS015": "unknown escape in a string",
    "NNS016": "character without a meaning",
    "NNS017": "free layers of a network that is not imported",
    # names
    "NNS020": "unknown name",
    "NNS021": "name defined twice",
    "NNS022": "name never used (warning)",
    "NNS023": "not exactly one objective",
    "NNS024": "unknown function or source",
    "NNS025": "wrong arguments",
    "NNS026": "built-in name defined again",
    "NNS027": "definitions in a circle",
    "NNS028": "definitions nested too deeply",
    "NNS029": "too many terms",
    "NNS030": "parameter without a value",
    "NNS031": "layer sizes do not match",
    "NNS032": "value for an unknown parameter",
    "NNS033": "value that a parameter does not allow",
    # types and constants
    "NNS034": "value of the wrong kind",
    "NNS035": "constant needed",
    "NNS036": "comparison that no solver can guarantee",
    "NNS037": "chain of comparisons in two directions",
    "NNS038": "arithmetic without a result",
    "NNS039": "index that does not exist",
    "NNS040": "domain without a value",
    # networks
    "NNS041": "unknown layer",
    "NNS042": "unknown activation",
    "NNS043": "layer of an impossible shape",
    "NNS044": "unknown setting",
    "NNS045": "setting that means nothing here",
    "NNS046": "softmax in the wrong place",
    "NNS047": "network without input, output or connection",
    "NNS048": "network file that cannot be read",
    "NNS049": "part of a network that does not exist",
    # losses and sizes
    "NNS050": "loss that does not fit the targets",
    "NNS051": "option of a loss out of range",
    "NNS053": "size of something that has none",
    "NNS054": "network called with the wrong number of inputs",
    "NNS055": "data of different units used with one network",
    "NNS056": "constraint that never holds (warning)",
    # data
    "NNS060": "data file that does not exist",
    "NNS061": "data file outside the folder of the spec",
    "NNS062": "data file that cannot be read",
    "NNS063": "column that does not exist",
    "NNS064": "cell that is no number",
    "NNS065": "no data",
    "NNS066": "rows of different lengths",
    "NNS067": "two columns of one name",
    "NNS068": "unknown class",
    "NNS069": "scaling that is not possible",
    "NNS070": "split that is not possible",
    "NNS071": "column that is constant (warning)",
    # symmetry
    "NNS080": "unknown kind of symmetry",
    "NNS081": "symmetry that must not be broken",
    "NNS082": "malformed group",
    "NNS083": "group that does not fit",
    "NNS084": "assumption that the data contradict",
    "NNS085": "enforced symmetry that the scaling destroys",
    "NNS086": "two statements about one symmetry",
}

SOLVING_CODES: dict[str, str] = {
    # from a Problem to a Program
    "NNS150": "bounds that an encoding needs",
    "NNS151": "symmetry that cannot be enforced",
    "NNS152": "unknown encoding or kind of bounds",
    "NNS153": "expression that no encoding can write",
    "NNS154": "entry without a possible value",
    # from a Program to a solver or a file
    "NNS160": "solver that is not installed",
    "NNS161": "row that a solver or format cannot take",
    "NNS163": "setting that a solver does not take",
    "NNS164": "unknown backend",
    "NNS165": "unknown format of a program file",
    "NNS166": "program above a licence's limits",
}
"""Codes of what is found only when a spec that `check` accepts is compiled or solved; `CODES` are those of `check`."""
