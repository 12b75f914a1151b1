"""Selection of runs by a small expression, such as ``space=darts-cnn and preset=paper``.

Grammar (nothing is ever evaluated as code)::

    expression := term ("or" term)*
    term       := factor ("and" factor)*
    factor     := "not" factor | "(" expression ")" | column operator value
    operator   := = | == | != | < | <= | > | >= | ~        (~: contains)
    value      := word | number | "quoted text"

Columns are those of the result schema. A comparison with a value that a run does not have is false;
``column=none`` selects runs without it (and constraint ``none``, which is a text).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from nasbench_snas.errors import ConfigError, suggest

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<operator><=|>=|!=|==|=|<|>|~)"""
    r"""|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s()<>=!~"']+))"""
)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_DEEPEST = 50


def parse_where(text: str, columns: Collection[str]) -> Predicate:
    """Return the predicate that ``text`` states; an empty text selects everything.

    Args:
        text: The expression.
        columns: Known columns.

    Raises:
        ConfigError: It cannot be read, or names an unknown column.
    """
    tokens = _tokens(text)
    if not tokens:
        return lambda row: True
    parser = _Parser(text, tokens, columns)
    predicate = parser.expression()
    if parser.position != len(tokens):
        raise parser.error(f"unexpected {tokens[parser.position][1]!r}")
    return predicate


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConfigError(
                f"--where cannot be read at character {position + 1}: {text[position:]!r}.",
                fix="Example: --where 'space=darts-cnn and preset=paper'",
            )
        kind = str(match.lastgroup)
        content = match.group(kind)
        if kind == "word" and content.lower() in ("and", "or", "not"):
            kind, content = "keyword", content.lower()
        found.append((kind, content))
        position = match.end()
    return found


class _Parser:
    def __init__(self, text: str, tokens: list[tuple[str, str]], columns: Collection[str]) -> None:
        self.text, self.tokens, self.columns = text, tokens, columns
        self.position = self.depth = 0

    def error(self, what: str) -> ConfigError:
        return ConfigError(
            f"--where {self.text!r}: {what}.",
            "Expected comparisons (column = value) joined by and, or, not and parentheses.",
            "Example: --where 'space=darts-cnn and preset=paper'",
        )

    def take(self, kind: str, *contents: str) -> str | None:
        """Return the next token's text and step over it, or None if it is something else."""
        if self.position == len(self.tokens):
            return None
        found, content = self.tokens[self.position]
        if found != kind or (contents and content not in contents):
            return None
        self.position += 1
        return content

    def expression(self) -> Predicate:
        terms = [self.term()]
        while self.take("keyword", "or"):
            terms.append(self.term())
        return lambda row: any(term(row) for term in terms)

    def term(self) -> Predicate:
        factors = [self.factor()]
        while self.take("keyword", "and"):
            factors.append(self.factor())
        return lambda row: all(factor(row) for factor in factors)

    def factor(self) -> Predicate:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error("too deeply nested")
        try:
            if self.take("keyword", "not"):
                inner = self.factor()
                return lambda row: not inner(row)
            if self.take("open"):
                inside = self.expression()
                if self.take("close") is None:
                    raise self.error("a parenthesis is not closed")
                return inside
            return self.comparison()
        finally:
            self.depth -= 1

    def comparison(self) -> Predicate:
        column = self.take("word")
        if column is None:
            raise self.error("a column's name was expected")
        if column not in self.columns:
            raise ConfigError(f"--where: unknown column {column!r}.", suggest(column, self.columns))
        operator = self.take("operator")
        if operator is None:
            raise self.error(f"an operator was expected after {column!r}")
        value = self.take("word") or self.take("double") or self.take("single")
        if value is None:
            raise self.error(f"a value was expected after {column} {operator}")
        if operator in _ORDER:
            return _ordered(column, operator, value, self)
        return _equal(column, operator, value)


def _ordered(column: str, operator: str, value: str, parser: _Parser) -> Predicate:
    try:
        limit = float(value)
    except ValueError as error:
        raise parser.error(f"{operator} needs a number, not {value!r}") from error
    compare = _ORDER[operator]

    def predicate(row: Mapping[str, Any]) -> bool:
        content = row.get(column)
        return isinstance(content, int | float) and compare(float(content), limit)

    return predicate


def _equal(column: str, operator: str, value: str) -> Predicate:
    def predicate(row: Mapping[str, Any]) -> bool:
        content = row.get(column)
        if operator == "~":
            return content is not None and value.lower() in str(content).lower()
        return _same(content, value) == (operator != "!=")

    return predicate


def _same(content: Any, value: str) -> bool:
    if content is None:
        return value.lower() in ("none", "null")
    if isinstance(content, bool):
        return value.lower() in (("true", "yes", "1") if content else ("false", "no", "0"))
    if isinstance(content, int | float):
        try:
            return float(content) == float(value)
        except ValueError:
            return False
    return str(content) == value
