"""Derives texts as a Python program would, for the tests to compare with.

Reads a script of lines on stdin and answers each with one line on stdout:

    q HEX   the normalised form of the query, or `skip`
    p HEX   the canonical form of the params, or `refused`
    all     for every assigned code point `XXXX HEX HEX`: in a plain context and among capital sigmas; then `end`

`skip` is said of a text whose lower case Unicode has changed since this Python's version.
"""

import json
import math
import sys
import unicodedata

# Reclassified since Unicode 14: no longer cased, no longer ignorable. It shows next to a capital sigma only.
SIGMA_CONTEXT_CHANGED = "\u0295\U0001171e"


def normalise(query):
    return " ".join(query.lower().split())


def is_outside(query):
    if any(unicodedata.category(c) == "Cn" for c in query):
        return True
    return "\u03a3" in query and any(c in query for c in SIGMA_CONTEXT_CHANGED)


def refuse(constant):
    raise ValueError(constant)


def finite(token):
    value = float(token)
    if math.isinf(value):
        raise ValueError("overflow")
    return value


def members(pairs):
    # Also of a value that a later member of the same key replaces.
    for key, value in pairs:
        key.encode()
        if isinstance(value, str):
            value.encode()
    return dict(pairs)


def canonical(params):
    value = json.loads(params, parse_constant=refuse, parse_float=finite, object_pairs_hook=members)
    json.dumps(value, ensure_ascii=False).encode()
    return json.dumps(value, sort_keys=True)


def answer(line):
    command, _, argument = line.partition(" ")
    argument = bytes.fromhex(argument)
    if command == "q":
        query = argument.decode()
        return "skip" if is_outside(query) else normalise(query).encode().hex()
    try:
        return canonical(argument.decode()).encode().hex()
    except (ValueError, RecursionError):
        return "refused"


def every_code_point():
    for code in range(sys.maxunicode + 1):
        c = chr(code)
        if unicodedata.category(c) in ("Cn", "Cs"):
            continue
        plain = normalise(f"A{c}B {c} {c}").encode().hex()
        sigma = "" if c in SIGMA_CONTEXT_CHANGED else normalise(f"A{c}Σ{c}B {c}Σ A{c}Σ AΣ{c}").encode().hex()
        print(f"{code:04x} {plain} {sigma}")


for line in sys.stdin.read().splitlines():
    if line == "all":
        every_code_point()
        print("end")
    else:
        print(answer(line))
