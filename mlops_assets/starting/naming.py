"""Names: what a file calls its columns, and what SQL, YAML and Python can all call them."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 62
# Words that DuckDB, Redshift or BigQuery keep for themselves: a column of that name would always need quotes.
_RESERVED_WORDS = """
all analyse analyze and any array as asc asymmetric between both by case cast check collate column
constraint create cross current current_date current_time current_timestamp default deferrable desc describe
distinct do else end except exclude exists extract false fetch filter for foreign from full group grouping
having hash if in initially inner insert intersect interval into is join lambda lateral leading left like
limit lookup natural new not null offset old on only or order outer over partition pivot placing preceding
primary qualify range recursive references returning right rows select set show similar some struct
summarize symmetric system table tag then timestamp to top trailing treat true unbounded union unique unnest
unpivot user using values variadic when where window with within
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


def snake_case(text: str) -> str:
    """`text` as an ASCII identifier in snake case; empty where no letter or digit is left.

    >>> snake_case("Größe (m²)"), snake_case("YEAR_BUILT"), snake_case("squareFeet"), snake_case("2nd floor")
    ('grosse_m2', 'year_built', 'square_feet', 'c_2nd_floor')
    """
    folded = text.replace("ß", "ss").replace("ø", "o").replace("Ø", "O").replace("æ", "ae").replace("Æ", "AE")
    ascii_only = unicodedata.normalize("NFKD", folded).encode("ascii", "ignore").decode()
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", ascii_only))
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if name and name[0].isdigit():
        name = f"c_{name}"
    return name[:LONGEST].rstrip("_")


def declared_names(sources: Sequence[str]) -> list[str]:
    """A declared name for each of a file's columns: snake case, unique, not reserved, at most 62 letters.

    >>> declared_names(["Order", "price", "Price ", "価格"])
    ['order_', 'price', 'price_2', 'column_4']
    """
    plain = [snake_case(source) or f"column_{number}" for number, source in enumerate(sources, start=1)]
    # A name that a column has exactly is kept for it, whatever comes before it in the file.
    taken = {
        name for name, source in zip(plain, sources, strict=True) if name == source and name not in _RESERVED
    }
    names: list[str] = []
    for name, source in zip(plain, sources, strict=True):
        if name == source and name in taken and name not in names:
            names.append(name)
            continue
        free = _free(f"{name}_" if name in _RESERVED else name, taken | set(names))
        names.append(free)
    return names


def _free(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        ending = f"_{number}"
        free = name[: LONGEST - len(ending)].rstrip("_") + ending
        number += 1
    return free


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a question, else the list of them.

    >>> did_you_mean("pirce", ["price", "rooms"])
    'Did you mean price?'
    """
    every = list(known)
    near = difflib.get_close_matches(name.lower(), [item.lower() for item in every], n=1)
    if near:
        return f"Did you mean {next(item for item in every if item.lower() == near[0])}?"
    return (
        f"There are: {', '.join(every[:40])}{', …' if len(every) > 40 else ''}."
        if every
        else "There are none."
    )
