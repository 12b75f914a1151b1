"""Inputs that are nearly right: texts, bytes and JSON values with a few errors, from a seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

TOKENS = (
    *("nan", "inf", "-inf", "1e999", "NaN", "Infinity", "null", "true", "[]", "{}", '""', "0"),
    *("-1", "9" * 400, "1e-40", "1e9", "999999999", "\0", "\x1b[31m", "../../x", "a" * 5000),
    *("[" * 3000, "(" * 3000, "💥", "\ufeff", "=1+1", "$\\frac$", "\n", '"', "'", "\\", "#", ","),
    *("0-999999999", "1-", "mac=600M", "macs=0.5x", "1_000", "0x10", "٣", "²", "True", "None"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 10**30, 1e308, float("nan"), float("inf"), -1e-300, 0.5),
    *("", "x", "../../x", "\x1b[2J", "\0", "a" * 5000, "=1+1", "$\\frac$", [], {}, [[]], [None]),
    *({"a": None}, [1, "a", None], "2024", "nan", {"": {}}, "\ud800"),
)


def mutated_text(chance: random.Random, text: str) -> str:
    """Return ``text`` with one to three errors."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        text = _one_error(chance, text)
    return text


def _one_error(chance: random.Random, text: str) -> str:
    start = chance.randrange(len(text) + 1)
    end = min(len(text), start + chance.choice((1, 2, 5, 20, 200)))
    lines = text.split("\n")
    kind = chance.randrange(8)
    if kind == 0:
        return text[:start] + text[end:]
    if kind == 1:
        return text[:end] + text[start:]
    if kind == 2:
        return text[:start] + chance.choice(TOKENS) + text[start:]
    if kind == 3:
        return text[:start] + chance.choice(TOKENS) + text[end:]
    if kind == 4:
        return text[:start]
    if kind == 5:
        del lines[chance.randrange(len(lines))]
        return "\n".join(lines)
    if kind == 6:  # the value behind the first sign of equality or colon of a line
        number = chance.randrange(len(lines))
        for sign in (" = ", "=", ": ", ","):
            head, found, _ = lines[number].partition(sign)
            if found:
                lines[number] = head + found + chance.choice(TOKENS)
                break
        return "\n".join(lines)
    chance.shuffle(lines)
    return "\n".join(lines)


def mutated_bytes(chance: random.Random, content: bytes) -> bytes:
    """Return ``content`` cut, extended, or with some bytes changed."""
    size = len(content)
    start = chance.randrange(size + 1)
    end = min(size, start + chance.choice((1, 8, 64, 4096)))
    kind = chance.randrange(6)
    if kind == 0:
        return content[:start]
    if kind == 1:
        return content + chance.randbytes(chance.choice((1, 16, 1000)))
    if kind == 2:
        return content[:start] + bytes(end - start) + content[end:]
    if kind == 3:
        return content[:start] + content[end:]
    if kind == 4:
        return chance.choice((b"", b"\0" * 64, b"PK\x03\x04", b"{}", chance.randbytes(200)))
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 20))):
        if changed:
            changed[chance.randrange(size)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def mutated_json(chance: random.Random, text: str) -> str:
    """Return a JSON text with a value replaced, removed, renamed or doubled, or a damaged text."""
    if chance.random() < 0.3:
        return mutated_text(chance, text)
    value = json.loads(text)
    for _ in range(chance.choice((1, 1, 2))):
        value = _changed(chance, value)
    return json.dumps(value)


def _changed(chance: random.Random, value: Any) -> Any:
    if not isinstance(value, dict | list):
        return chance.choice(VALUES)
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        where = stack.pop()
        keys = where.keys() if isinstance(where, dict) else range(len(where))
        for key in keys:
            places.append((where, key))
            if isinstance(where[key], dict | list):
                stack.append(where[key])
    if not places or chance.random() < 0.05:
        return chance.choice(VALUES)
    where, key = chance.choice(places)
    kind = chance.randrange(5)
    if kind == 0:
        del where[key]
    elif kind == 1 and isinstance(where, dict):
        where[chance.choice(("", "x", "schema_version", "a" * 300))] = where.pop(key)
    elif kind == 2 and isinstance(where, list):
        where.extend(copy.deepcopy(where[key : key + 1]) * chance.choice((1, 3)))
    else:
        where[key] = chance.choice(VALUES)
    return value


def mutated_lines(chance: random.Random, text: str) -> str:
    """Return lines of JSON with an error in one of them, or between them."""
    lines = text.splitlines()
    if chance.random() < 0.4:
        return mutated_text(chance, text)
    number = chance.randrange(len(lines))
    lines[number] = mutated_json(chance, lines[number])
    return "\n".join(lines) + "\n"
