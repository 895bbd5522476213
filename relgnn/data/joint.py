"""Whole sentences with every mention and every relation between them: joint extraction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from relgnn.data.marked import Marked
from relgnn.data.relations import content_checksum, read_labels
from relgnn.data.tables import (
    Problems,
    find_file,
    raise_first,
    read_json_lines,
)
from relgnn.errors import InputError

FILES = {
    "train": ("train.sentences.jsonl",),
    "valid": ("valid.sentences.jsonl", "dev.sentences.jsonl"),
    "test": ("test.sentences.jsonl",),
}


class Mention(NamedTuple):
    """Words [start, end) that name an entity, and which of `JointData.kinds` it is."""

    start: int
    end: int
    kind: int


class Stated(NamedTuple):
    """A relation between two mentions of a sentence, by their places in its list."""

    head: int
    tail: int
    label: int


class Annotated(NamedTuple):
    """A sentence's words, its mentions and the relations that it states."""

    words: tuple[str, ...]
    mentions: tuple[Mention, ...]
    relations: tuple[Stated, ...]


@dataclass(frozen=True)
class JointData:
    """A data set of joint extraction.

    Args:
        name: of the data set.
        kinds: types of entities, as the files name them.
        labels: relations, as the files name them.
        label_names, descriptions: readable ones, "" where there is none.
        train, valid, test: the sentences.
    """

    name: str
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    label_names: tuple[str, ...]
    descriptions: tuple[str, ...]
    train: tuple[Annotated, ...]
    valid: tuple[Annotated, ...]
    test: tuple[Annotated, ...]

    @cached_property
    def checksum(self) -> str:
        """See `content_checksum`."""
        return content_checksum(self)


def read_joint(folder: Path, name: str = "") -> JointData:
    """Read {train, valid or dev, test}.sentences.jsonl, plain or gzipped, and relations.tsv.

    Each line holds `tokens`, `entities` ([{"span": [start, end), "type"}], spans in tokens) and
    `relations` ([{"head", "tail", "type"}], places in the list of entities).

    Args:
        folder: the data set.
        name: what to call it; by default the folder's name.

    Raises:
        InputError: a file is missing or broken, a span is outside of its sentence, a label is not
            in relations.tsv, or an entity's type or a relation occurs in test alone.
    """
    problems = Problems()
    labels, names, descriptions = read_labels(folder, problems, "joint extraction")
    lines: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    paths: dict[str, Path] = {}
    for split, files in FILES.items():
        found = find_file(folder, *files)
        if found is None:
            problems.error(
                "missing", folder / files[0], None, "no such file: put its sentences there"
            )
        else:
            paths[split], lines[split] = found, list(read_json_lines(found, problems))
    raise_first(problems.all(), folder)
    kinds = tuple(sorted(set(_kinds(lines["train"]))))
    number = {
        "kind": {kind: i for i, kind in enumerate(kinds)},
        "label": {label: i for i, label in enumerate(labels)},
    }
    parts = {
        split: tuple(_sentences(lines[split], paths[split], number, problems)) for split in FILES
    }
    known = {one.label for split in ("train", "valid") for x in parts[split] for one in x.relations}
    lost = sorted({one.label for x in parts["test"] for one in x.relations} - known)
    if lost:
        problems.error(
            "test_only", paths["test"], None,
            f"{', '.join(labels[i] for i in lost)} occurs here alone, so that nothing can learn "
            "it: move sentences with it to train or take it out",
        )  # fmt: skip
    raise_first(problems.all(), folder)
    return JointData(name or folder.name, kinds, labels, names, descriptions, **parts)


def _kinds(lines: list[tuple[int, Mapping[str, Any]]]) -> Iterator[str]:
    for _, entry in lines:
        entities = entry.get("entities")
        for one in entities if isinstance(entities, list) else ():
            if isinstance(one, Mapping) and one.get("type"):
                yield str(one["type"])


def _sentences(
    lines: list[tuple[int, Mapping[str, Any]]],
    path: Path,
    number: Mapping[str, Mapping[str, int]],
    problems: Problems,
) -> Iterator[Annotated]:
    for line, entry in lines:
        try:
            yield annotated(entry, number["kind"], number["label"])
        except InputError as error:
            problems.error("sentence", path, line, str(error))


def annotated(
    entry: Mapping[str, Any], kinds: Mapping[str, int], labels: Mapping[str, int]
) -> Annotated:
    """One line of a data set.

    Args:
        entry: its JSON object.
        kinds, labels: index of each type of entity and of each relation.

    Raises:
        InputError: something is missing or does not fit.
    """
    try:
        found = Marked.of(entry)
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "expected tokens, entities with a span [start, end) and a type, and relations with "
            "head, tail and type"
        ) from None
    if not any(word.strip() for word in found.words):
        raise InputError("the list of tokens is empty: delete the line")
    found.require_places()
    for i, (span, kind) in enumerate(zip(found.spans, found.types, strict=True)):
        if span in found.spans[:i]:
            raise InputError(f"span [{span[0]}, {span[1]}) is there twice: keep one entity of it")
        if kind not in kinds:
            raise InputError(f"type {kind!r} of entity {i} never occurs in train: correct it")
    for _, _, label in found.relations:
        if label not in labels:
            raise InputError(f"label {label!r} is not in relations.tsv: add it there or correct it")
    return Annotated(
        found.words,
        tuple(
            Mention(*span, kinds[kind]) for span, kind in zip(found.spans, found.types, strict=True)
        ),
        tuple(Stated(head, tail, labels[label]) for head, tail, label in found.relations),
    )
