"""Documents with entities that are named many times, and relations between entities: DocRED."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from relgnn.data.tables import Problems, find_file, raise_first, read_json, read_table
from relgnn.errors import InputError

FILES = {
    "train": ("train.json", "train_revised.json"),
    "valid": ("valid.json", "dev.json", "dev_revised.json"),
    "test": ("test.json", "test_revised.json"),
}


class Place(NamedTuple):
    """Words [start, end) of one of a document's sentences."""

    sentence: int
    start: int
    end: int


class Entity(NamedTuple):
    """Where an entity is named, and what it is."""

    mentions: tuple[Place, ...]
    kind: str


class Fact(NamedTuple):
    """A relation between two of a document's entities, by their places in its list."""

    head: int
    tail: int
    label: int


class Document(NamedTuple):
    """A document's words, sentence by sentence, its entities and the relations that it states."""

    title: str
    sentences: tuple[tuple[str, ...], ...]
    entities: tuple[Entity, ...]
    facts: frozenset[Fact]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every ordered pair of entities, head by head."""
        several = range(len(self.entities))
        return [(h, t) for h in several for t in several if h != t]


@dataclass(frozen=True)
class DocumentData:
    """A data set of document-level relation extraction.

    Args:
        name: of the data set.
        labels: relations, as the files name them.
        label_names, descriptions: readable ones, "" where there is none.
        train, valid, test: the documents; train may be empty.
    """

    name: str
    labels: tuple[str, ...]
    label_names: tuple[str, ...]
    descriptions: tuple[str, ...]
    train: tuple[Document, ...]
    valid: tuple[Document, ...]
    test: tuple[Document, ...]


def read_documents(folder: Path, name: str = "") -> DocumentData:
    """Read train, dev and test in DocRED's format, plain or gzipped, and relations.tsv.

    A file is a list of {"title", "sents": lists of tokens, "vertexSet": for each entity a list of
    {"sent_id", "pos": [start, end), "type"}, "labels": [{"h", "t", "r"}]}. Train may be missing.

    Args:
        folder: the data set.
        name: what to call it; by default the folder's name.

    Raises:
        InputError: a file is missing or broken, a mention is outside of its sentence, or a label
            is not in relations.tsv.
    """
    problems = Problems()
    path = find_file(folder, "relations.tsv")
    if path is None:
        raise InputError(
            f"{folder}: no relations.tsv (label, name, description); is this a data set of "
            "documents?"
        )
    table = read_table(path, ("label", "name", "description"), problems, optional=2)
    labels, names, descriptions = (tuple(column) for column in table.columns)
    number = {label: i for i, label in enumerate(labels)}
    parts: dict[str, tuple[Document, ...]] = {}
    for split, files in FILES.items():
        found = find_file(folder, *files)
        parts[split] = () if found is None else tuple(_documents(found, number, problems))
        if found is None and split != "train":
            problems.error(
                "missing", folder / files[1], None, "no such file: copy the data set again"
            )
    raise_first(problems.all(), folder)
    return DocumentData(name or folder.name, labels, names, descriptions, **parts)


def _documents(path: Path, number: Mapping[str, int], problems: Problems) -> Iterator[Document]:
    content = read_json(path, problems)
    if content is not None and not isinstance(content, list):
        problems.error("json", path, None, "holds no list of documents: give DocRED's format")
        return
    for i, entry in enumerate(content or ()):
        try:
            yield document(entry, number)
        except InputError as error:
            problems.error("document", path, None, f"document {i}: {error}")


def document(entry: Mapping[str, Any], number: Mapping[str, int]) -> Document:
    """One entry of a file.

    Args:
        entry: its JSON object.
        number: index of each label.

    Raises:
        InputError: something is missing or does not fit.
    """
    try:
        sentences = tuple(tuple(map(str, words)) for words in entry["sents"])
        entities = tuple(_entity(mentions) for mentions in entry["vertexSet"])
        stated = [(int(x["h"]), int(x["t"]), str(x["r"])) for x in entry.get("labels", ())]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise InputError(
            "expected sents, vertexSet with sent_id, pos [start, end) and type, and labels with "
            "h, t and r"
        ) from None
    for i, entity in enumerate(entities):
        for at, start, end in entity.mentions:
            if not 0 <= at < len(sentences) or not 0 <= start < end <= len(sentences[at]):
                raise InputError(
                    f"a mention of entity {i} is at words [{start}, {end}) of sentence {at}, which "
                    f"is outside of the {len(sentences)} sentences"
                )
    for head, tail, label in stated:
        if label not in number:
            raise InputError(f"label {label!r} is not in relations.tsv: add it there or correct it")
        if head == tail or not 0 <= min(head, tail) <= max(head, tail) < len(entities):
            raise InputError(
                f"relation {label!r} is between entities {head} and {tail}: expected two of the "
                f"{len(entities)}, counted from 0"
            )
    facts = frozenset(Fact(head, tail, number[label]) for head, tail, label in stated)
    return Document(str(entry.get("title", "")), sentences, entities, facts)


def _entity(mentions: list[Mapping[str, Any]]) -> Entity:
    places = {Place(int(x["sent_id"]), int(x["pos"][0]), int(x["pos"][1])) for x in mentions}
    return Entity(tuple(sorted(places)), str(mentions[0]["type"]))
