"""Statements as tokens: the few places in them that Redshift spells differently are found and replaced.

A parser would have to know all of the language (sqlglot's has no `$1` and drops PIVOT); tokens do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlops_assets_tests.standins.redshift.wire import SYNTAX, RedshiftError

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<string>[eE]?'(?:[^'\\]|''|\\.)*')
    |(?P<dollar>\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<parameter>\$\d+)
    |(?P<word>[^\W\d][\w$]*|\#[\w$]+)
    |(?P<sign>::|<=|>=|<>|!=|\|\||!~|.)""",
    re.X | re.S,
)


@dataclass(frozen=True)
class Token:
    """One token: its kind (a group of the expression above), its text, and the blank before it."""

    kind: str
    text: str
    before: str = ""

    @property
    def key(self) -> str:
        """What grammar is looked up by: words in upper case."""
        return self.text.upper() if self.kind == "word" else self.text

    @property
    def is_name(self) -> bool:
        """It can name something."""
        return self.kind in ("word", "quoted")

    @property
    def name(self) -> str:
        """The name it spells."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text.lower()

    @property
    def value(self) -> str:
        """The text of a string literal."""
        if self.kind == "dollar":
            return self.text[self.text.index("$", 1) + 1 : self.text.rindex("$", 0, -1)]
        body = self.text[self.text.index("'") + 1 : -1].replace("''", "'")
        return re.sub(r"\\(.)", r"\1", body, flags=re.S)


def tokens(sql: str) -> list[Token]:
    """The tokens of one statement; comments count as blanks, a last semicolon is dropped."""
    found: list[Token] = []
    before = ""
    for match in _TOKEN.finditer(sql):
        kind = "dollar" if match["dollar"] else str(match.lastgroup)
        if kind == "space":
            before += " "
        else:
            found.append(Token(kind, match[0], " " if before else ""))
            before = ""
    while found and found[-1].text == ";":
        found.pop()
    return found


def text(parts: Sequence[Token]) -> str:
    """The statement that the tokens spell."""
    return "".join(part.before + part.text for part in parts).strip()


def word(spelled: str) -> Token:
    """A piece of SQL to put between tokens."""
    return Token("word", spelled, " ")


def closing(parts: Sequence[Token], start: int) -> int:
    """Index of the bracket that closes the one at `start`."""
    depth = 0
    for at in range(start, len(parts)):
        depth += (parts[at].text == "(") - (parts[at].text == ")")
        if depth == 0:
            return at
    raise RedshiftError("syntax error at end of input", SYNTAX)


def separated(parts: Sequence[Token]) -> Iterator[list[Token]]:
    """The items of a list, split at its own commas."""
    depth, item = 0, []
    for part in parts:
        depth += (part.text == "(") - (part.text == ")")
        if part.text == "," and depth == 0:
            yield item
            item = []
        else:
            item.append(part)
    yield item


class Reader:
    """Reads tokens one after the other, for the statements that have a grammar of their own."""

    def __init__(self, parts: Sequence[Token]) -> None:
        self._parts, self._at = parts, 0

    def __bool__(self) -> bool:
        return self._at < len(self._parts)

    def peek(self, ahead: int = 0) -> Token:
        """The token `ahead` of the next; an empty one behind the last."""
        at = self._at + ahead
        return self._parts[at] if at < len(self._parts) else Token("end", "")

    def take(self) -> Token:
        """The next token."""
        found = self.peek()
        if found.kind == "end":
            raise RedshiftError("syntax error at end of input", SYNTAX)
        self._at += 1
        return found

    def accept(self, *keys: str) -> bool:
        """Take the next tokens where they are `keys`."""
        if [self.peek(ahead).key for ahead in range(len(keys))] != list(keys):
            return False
        self._at += len(keys)
        return True

    def expect(self, *keys: str) -> None:
        """Take the next tokens, which must be `keys`."""
        if not self.accept(*keys):
            raise self.error()

    def error(self) -> RedshiftError:
        """The server's words for a token that is out of place."""
        return RedshiftError(f'syntax error at or near "{self.peek().text.lower()}"', SYNTAX)

    def string(self) -> str:
        """A string literal, with AS before it or without."""
        self.accept("AS")
        if self.peek().kind not in ("string", "dollar"):
            raise self.error()
        return self.take().value

    def number(self) -> float:
        """A number, with AS before it or without."""
        self.accept("AS")
        if self.peek().kind != "number":
            raise self.error()
        return float(self.take().text)

    def relation(self) -> list[Token]:
        """A name with or without a schema."""
        found = [self._name()]
        while self.accept("."):
            found += [Token("sign", "."), self._name()]
        return found

    def names(self) -> list[str]:
        """A bracketed list of names."""
        self.expect("(")
        found = [self._name().name]
        while self.accept(","):
            found.append(self._name().name)
        self.expect(")")
        return found

    def bracketed(self) -> list[Token]:
        """What the next brackets hold."""
        start = self._at
        self.expect("(")
        self._at = closing(self._parts, start) + 1
        return list(self._parts[start + 1 : self._at - 1])

    def rest(self) -> list[Token]:
        """Everything that is left."""
        found = list(self._parts[self._at :])
        self._at = len(self._parts)
        return found

    def _name(self) -> Token:
        if not self.peek().is_name:
            raise self.error()
        return self.take()
