"""Mends for misspelt names: the close one where there is one, else what there is."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is probably a misspelling of, in any case; None where none is close."""
    exact = {item.lower(): item for item in known}
    close = get_close_matches(name.lower(), list(exact), n=1, cutoff=0.6)
    return exact[close[0]] if close else None


def suggest(name: str, known: Iterable[str], otherwise: str) -> str:
    """A mend: `Did you mean …?` where a known name is close, else `otherwise`."""
    close = closest(name, known)
    return f"Did you mean {close!r}?" if close else otherwise


def one_of(known: Iterable[str], most: int = 30) -> str:
    """`Use one of a, b, c.`, cut after `most` names."""
    names = list(known)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"Use one of {', '.join(names[:most])}{more}."
