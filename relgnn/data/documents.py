"""Documents with entities that are named many times, and relations between entities: DocRED."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from relgnn.data.relations import Example, content_checksum, place_tokens, read_labels
from relgnn.data.tables import Problems, find_file, raise_first, read_json
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
    """A document's words, sentence by sentence, its entities and the relations that it states.

    `evidence` says which sentences state a fact, where the annotators named some.
    """

    title: str
    sentences: tuple[tuple[str, ...], ...]
    entities: tuple[Entity, ...]
    facts: frozenset[Fact]
    evidence: frozenset[tuple[Fact, int]] = frozenset()

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

    @cached_property
    def checksum(self) -> str:
        """See `content_checksum`."""
        return content_checksum(self)


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
    labels, names, descriptions = read_labels(folder, problems, "documents")
    number = {label: i for i, label in enumerate(labels)}
    parts: dict[str, tuple[Document, ...]] = {}
    for split, files in FILES.items():
        found = find_file(folder, *files)
        parts[split] = () if found is None else tuple(_documents(found, number, problems))
        if found is None and split != "train":
            problems.error(
                "missing", folder / files[1], None, "no such file: put its documents there"
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
        shown = [[int(i) for i in x.get("evidence") or ()] for x in entry.get("labels", ())]
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
    facts = [Fact(head, tail, number[label]) for head, tail, label in stated]
    evidence = {(fact, i) for fact, own in zip(facts, shown, strict=True) for i in own}
    title = str(entry.get("title", ""))
    return Document(title, sentences, entities, frozenset(facts), frozenset(evidence))


def _entity(mentions: list[Mapping[str, Any]]) -> Entity:
    places = {Place(int(x["sent_id"]), int(x["pos"][0]), int(x["pos"][1])) for x in mentions}
    return Entity(tuple(sorted(places)), str(mentions[0]["type"]))


def sentence_examples(documents: Iterable[Document]) -> Iterator[Example]:
    """Pairs of entities that one sentence names and that have one relation.

    Each gives the first sentence that names both and is evidence of the relation; any that names
    both, where the annotators named no evidence. A pair of several relations gives nothing: which
    of them a sentence states is not told.
    """
    for document in documents:
        texts = [place_tokens(words) for words in document.sentences]
        first = [{m.sentence: m for m in reversed(one.mentions)} for one in document.entities]
        stated, shown = defaultdict(list), defaultdict(set)
        for fact in sorted(document.facts):
            stated[fact.head, fact.tail].append(fact)
        for fact, sentence in document.evidence:
            shown[fact].add(sentence)
        for (head, tail), [fact, *others] in stated.items():
            kinds = document.entities[head].kind, document.entities[tail].kind
            for i in sorted(first[head].keys() & first[tail].keys()):
                a, b = first[head][i], first[tail][i]
                apart = a.end <= b.start or b.end <= a.start
                if not others and apart and (i in shown[fact] or not shown[fact]):
                    text, starts, ends = texts[i]
                    spans = [(starts[m.start], ends[m.end - 1]) for m in (a, b)]
                    yield Example(text, spans[0], spans[1], fact.label, *kinds, document.title)
                    break
