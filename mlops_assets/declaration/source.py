"""defs.yaml as text with positions: every key's line, and mistakes that name file, line and mend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from mlops_assets.declaration.schema import DeclaredValueError
from mlops_assets.declaration.suggesting import one_of, suggest
from mlops_assets.errors import DeclarationError

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp")}
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 40


@dataclass(frozen=True)
class Source:
    """A parsed YAML document.

    Attributes:
        path: the file, for messages.
        data: its content as plain dictionaries, lists and scalars.
        lines: key path -> line, from 1.

    """

    path: Path
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def at(self, location: Sequence[str | int]) -> str:
        """`file:line` of the deepest known key of `location`; parts that are no keys are passed over."""
        found: KeyPath = ()
        for part in location:
            if (*found, part) in self.lines:
                found = (*found, part)
        line = self.lines.get(found)
        return f"{self.path}:{line}" if line else str(self.path)

    def mistake(self, location: Sequence[str | int], what: str, mend: str) -> DeclarationError:
        """A mistake at `location`, to be raised or collected."""
        return DeclarationError(what, where=self.at(location), mend=mend)


def read_source(path: Path) -> Source:
    """Read and parse a YAML file.

    Raises:
        DeclarationError: where it is missing, not UTF-8, or not plain YAML.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DeclarationError("The file does not exist.", where=str(path), mend="Create it.") from None
    except UnicodeDecodeError:
        raise DeclarationError(
            "The file is not UTF-8 text.", where=str(path), mend="Save it as UTF-8."
        ) from None
    return parse_source(text, path)


def parse_source(text: str, path: Path) -> Source:
    """Parse YAML text; `path` is for messages only.

    Plain YAML alone: tags, aliases, merge keys and several documents are refused, and a key given twice is a
    mistake.

    Raises:
        DeclarationError: listing every mistake.

    """
    try:
        root = _LOADER(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise DeclarationError(
            f"This is not valid YAML: {error.problem or error.context}.",
            where=where,
            mend="Correct the line.",
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise DeclarationError(
            f"This is not valid YAML: {str(error).splitlines()[0]}", where=str(path), mend="Correct the file."
        ) from None
    reader = _Reader(path)
    data = reader.build(root, ()) if root is not None else None
    raise_all(reader.mistakes)
    return Source(path, data, reader.lines)


class _Reader:
    """Builds plain values from YAML nodes and notes the line of each key path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[DeclarationError] = []
        self._seen: set[int] = set()
        self._scalars = yaml.SafeLoader("")

    def build(self, node: Any, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if id(node) in self._seen:
            return self._refuse(
                self.lines[path], "aliases (`*name`) are not allowed here.", "Write the value out."
            )
        self._seen.add(id(node))
        if len(path) > _DEEPEST:
            return self._refuse(line, "this is nested too deeply.", "Write it flat.")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, line)
        shown = node.tag.replace(_TAG, "!!")
        return self._refuse(
            line, f"the YAML tag {shown} is not allowed.", "Write a plain value without a tag."
        )

    def _scalar(self, node: Any, line: int) -> Any:
        if node.tag == _TAG + "timestamp":
            return node.value
        try:
            return self._scalars.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            return self._refuse(
                line, f"{node.value!r} is not a {node.tag.replace(_TAG, '')}.", "Put it in quotes."
            )

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag not in _SCALARS:
                self._refuse(
                    line, "a key must be plain text.", "Write `name: value`; merge keys are not allowed."
                )
            elif key in built:
                first = self.lines[(*path, key)]
                self._refuse(
                    line, f"the key {key!r} is given twice (first in line {first}).", "Keep one of them."
                )
            else:
                self.lines[(*path, key)] = line
                built[key] = self.build(value_node, (*path, key))
        return built

    def _refuse(self, line: int, what: str, mend: str) -> None:
        self.mistakes.append(
            DeclarationError(what[0].upper() + what[1:], where=f"{self.path}:{line}", mend=mend)
        )


# --- mistakes -----------------------------------------------------------------------------------------------


class ManyMistakesError(DeclarationError):
    """Several mistakes at once; the message lists every one.

    Attributes:
        mistakes: each of them.

    """

    def __init__(self, mistakes: Sequence[DeclarationError]) -> None:
        super().__init__(f"{len(mistakes)} mistakes:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
        self.mistakes = tuple(mistakes)


def raise_all(mistakes: Sequence[DeclarationError]) -> None:
    """Raise where there are mistakes: one as it is, several in one ManyMistakesError."""
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else ManyMistakesError(mistakes)


def mistakes_of(error: DeclarationError) -> tuple[DeclarationError, ...]:
    """The single mistakes that an error lists."""
    return error.mistakes if isinstance(error, ManyMistakesError) else (error,)


# --- from pydantic ------------------------------------------------------------------------------------------


def validation_mistakes(
    error: ValidationError, source: Source, model: type[BaseModel], prefix: KeyPath = ()
) -> list[DeclarationError]:
    """One mistake per error of pydantic, with the line of the key that it is about.

    Args:
        error: what pydantic found.
        source: the document, for the lines.
        model: the validated model, for the names of known keys.
        prefix: path of the validated value in the document.

    """
    found = []
    for item in error.errors(include_url=False):
        what, mend, deeper = _explain(item, model)
        location = (*prefix, *item["loc"], *deeper)
        name = ".".join(str(part) for part in (*item["loc"], *deeper) if part != "[key]")
        found.append(source.mistake(location, f"{name}: {what}" if name else what, mend))
    return found


def _explain(item: Any, model: type[BaseModel]) -> tuple[str, str, KeyPath]:
    location: KeyPath = tuple(item["loc"])
    context = item.get("ctx", {})
    cause = context.get("error")
    last = str(location[-1]) if location else ""
    if item["type"] == "extra_forbidden":
        known = _keys(model, location[:-1])
        return "this key is not known.", suggest(last, known, one_of(known)), ()
    if item["type"] == "missing":
        return "this key is missing.", f"Add `{last}: …`.", ()
    if item["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"{item['input']!r} is not known.", suggest(str(item["input"]), known, one_of(known)), ()
    if isinstance(cause, DeclaredValueError):
        return _sentence(cause.what), cause.mend, cause.at
    if cause is not None:
        return _sentence(str(cause)), "Correct it.", ()
    mend = (
        f"Write something that matches {context['pattern']}."
        if "pattern" in context
        else "Correct the value."
    )
    return _sentence(item["msg"]), mend, ()


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def _keys(model: type[BaseModel], location: KeyPath) -> list[str]:
    """The keys that the model at `location` below `model` knows, as they are written in YAML."""
    current: list[type[BaseModel]] = [model]
    for part in location:
        fields = [
            info.annotation
            for known in current
            for name, info in known.model_fields.items()
            if part in (name, info.alias)
        ]
        if fields:
            current = [found for annotation in fields for found in _models(annotation)]
    return [info.alias or name for known in current for name, info in known.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
