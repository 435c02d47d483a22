"""List filters of Google's APIs (AIP-160), parsed: comparisons joined by AND, OR, NOT and parentheses.

OR binds closer than AND, and two restrictions side by side are joined by AND, as AIP-160 has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlops_assets_tests.standins.gcp.vertex_errors import RpcError

Matches = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<compare><=|>=|!=|=|<|>|:)
      | (?P<bracket>[()])
      | (?P<word>[^\s()=!<>:"']+)
    )""",
    re.VERBOSE,
)


def parsed(text: str) -> Matches:
    """Whether a resource, as JSON with its proto's field names, passes the filter.

    Raises:
        RpcError: INVALID_ARGUMENT, where the text is no filter.
    """
    if not text.strip():
        return lambda _: True
    parser = _Parser(text)
    found = parser.expression()
    if parser.next is not None:
        raise parser.wrong()
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self.next = next(self._tokens, None)

    def expression(self) -> Matches:
        every = [self._factor()]
        while self.next is not None and self.next != ("bracket", ")"):
            if self.next == ("word", "AND"):
                self._take()
            every.append(self._factor())
        return lambda item: all(matches(item) for matches in every)

    def _factor(self) -> Matches:
        some = [self._term()]
        while self.next == ("word", "OR"):
            self._take()
            some.append(self._term())
        return lambda item: any(matches(item) for matches in some)

    def _term(self) -> Matches:
        if self.next == ("word", "NOT"):
            self._take()
            inner = self._term()
            return lambda item: not inner(item)
        if self.next == ("bracket", "("):
            self._take()
            inner = self.expression()
            if self._take() != ("bracket", ")"):
                raise self.wrong()
            return inner
        return self._restriction()

    def _restriction(self) -> Matches:
        kind, field = self._take()
        compared, operator = self._take()
        value_kind, value = self._take()
        if kind != "word" or compared != "compare" or value_kind not in ("word", "text"):
            raise self.wrong()
        wanted = re.sub(r"\\(.)", r"\1", value[1:-1]) if value_kind == "text" else value
        return lambda item: _holds(_at(item, field), operator, wanted)

    def _take(self) -> tuple[str, str]:
        if self.next is None:
            raise self.wrong()
        taken, self.next = self.next, next(self._tokens, None)
        return taken

    def _split(self) -> Iterator[tuple[str, str]]:
        place = 0
        while self._text[place:].strip():
            found = _TOKEN.match(self._text, place)
            if found is None or found.lastgroup is None:
                raise self.wrong()
            yield found.lastgroup, found[found.lastgroup]
            place = found.end()

    def wrong(self) -> RpcError:
        """What the service answers to a text that is no filter."""
        return RpcError("INVALID_ARGUMENT", f"Invalid filter expression: {self._text}")


def _at(item: Mapping[str, Any], field: str) -> Any:
    """The value at a dotted path, None where there is none; a last key may hold dots itself."""
    if field in item:
        return item[field]
    first, _, rest = field.partition(".")
    inner = item.get(first)
    return _at(inner, rest) if rest and isinstance(inner, Mapping) else None


def _holds(found: Any, operator: str, wanted: str) -> bool:
    if operator == ":":
        if wanted == "*":
            return found is not None
        if isinstance(found, Mapping | list):
            return wanted in found
        return found is not None and wanted in str(found)
    if operator == "!=":
        return not _holds(found, "=", wanted)
    if found is None:
        return False
    if operator == "=":
        return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), _text(found)) is not None
    left, right = (float(found), float(wanted)) if isinstance(found, int | float) else (_text(found), wanted)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]  # type: ignore[operator]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
