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
}
