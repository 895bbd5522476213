"""Texts to learn from without labels: those of a graph, of marked sentences, or a plain corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from relgnn.data.folder import read_folder
from relgnn.data.registry import find, load
from relgnn.data.relations import (
    Example,
    RelationData,
    Span,
    content_checksum,
    is_relations,
    read_relations,
)
from relgnn.data.tables import Problems, find_file, raise_first, read_json_lines
from relgnn.errors import InputError


class MarkedText(NamedTuple):
    """A text, and the characters [start, end) of the entities that are known to be named in it."""

    text: str
    mentions: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """The texts of a data set."""

    name: str
    texts: tuple[MarkedText, ...]

    @property
    def checksum(self) -> str:
        """See `content_checksum`."""
        return content_checksum(self)


def read_corpus(name: str | None, path: Path | None) -> Corpus:
    """The texts of a data set.

    Args:
        name: of a data set of triples or of marked sentences, whose training part is read.
        path: a folder of either kind, or one with texts.jsonl ({"id", "text"} a line) alone.

    Raises:
        InputError: it is nowhere, is broken, or has no texts.
    """
    folder = path if path is not None else find(str(name))
    if folder is not None and is_relations(folder):
        found = texts_of(read_relations(folder, name or folder.name, ("train",)))
    elif path is not None and find_file(path, "train.tsv") is None:
        found = _plain(path)
    else:
        graph = load(str(name)) if path is None else read_folder(path)
        found = [MarkedText(one.text) for one in graph.texts]
    if not found:
        raise InputError(f"{name or path}: has no texts; give a texts.jsonl, or another data set")
    return Corpus(name or str(path), tuple(found))


def texts_of(data: RelationData) -> list[MarkedText]:
    """The texts of train and of what has no label, each once; none that valid or test has too."""
    judged = {one.text for one in (*data.valid, *data.test)}
    return _gathered(one for one in (*data.train, *data.unlabelled) if one.text not in judged)


def _gathered(examples: Iterable[Example]) -> list[MarkedText]:
    mentions: dict[str, set[Span]] = {}
    for one in examples:
        mentions.setdefault(one.text, set()).update((one.head, one.tail))
    return [MarkedText(text, tuple(sorted(spans))) for text, spans in mentions.items()]


def _plain(folder: Path) -> list[MarkedText]:
    path = find_file(folder, "texts.jsonl")
    if path is None:
        raise InputError(
            f"{folder}: has neither train.jsonl, train.tsv nor texts.jsonl; give it texts"
        )
    problems, found = Problems(), []
    for line, row in read_json_lines(path, problems):
        text = row.get("text")
        if isinstance(text, str) and text.strip():
            found.append(MarkedText(text))
        else:
            problems.error("empty_text", path, line, '"text" is missing or empty: write a text')
    raise_first(problems.all(), folder)
    return found
