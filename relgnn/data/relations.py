"""Sentences with two marked entities and the relation between them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from relgnn.data.folder import Report
from relgnn.data.mentions import Span, find_mention, no_spaces
from relgnn.data.tables import (
    Problem,
    Problems,
    find_file,
    raise_first,
    read_json_lines,
    read_table,
    warn_of_header,
)
from relgnn.errors import InputError

SPLITS = ("train", "valid", "test")
_SPOKEN = {"train": "training", "valid": "validation", "test": "test"}
_EXPECTED = "expected tokens (or text), head and tail with a span [start, end)"
NO_RELATION = ("NA", "no_relation", "unknown", "Other")
"""Labels that say that none of the others holds."""


class Example(NamedTuple):
    """One sentence that states, or does not state, a relation of two entities named in it.

    Args:
        text: the sentence.
        head, tail: where the entities are named.
        relation: index of `RelationData.labels`.
        head_type, tail_type: kinds of the entities, "" where unknown.
        group: sentence or document that several examples share, "" where it stands alone.
    """

    text: str
    head: Span
    tail: Span
    relation: int
    head_type: str = ""
    tail_type: str = ""
    group: str = ""


@runtime_checkable
class Relations(Protocol):
    """What a data set says of its relations; each is as long as there are relations."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...

    @property
    def descriptions(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class RelationData:
    """A data set of relation extraction.

    Args:
        name: of the data set.
        labels: as the files name them.
        label_names, descriptions: readable ones, "" where there is none.
        train, valid, test: the examples.
        unlabelled: texts with marked entities whose relation is not told; their label is -1.
    """

    name: str
    labels: tuple[str, ...]
    label_names: tuple[str, ...]
    descriptions: tuple[str, ...]
    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...]
    unlabelled: tuple[Example, ...] = field(default=(), repr=False)

    @cached_property
    def checksum(self) -> str:
        """See `content_checksum`."""
        return content_checksum(self)

    @property
    def negative(self) -> int | None:
        """The label that says "none of these"; None where every sentence states a relation."""
        return next((self.labels.index(x) for x in NO_RELATION if x in self.labels), None)

    @property
    def positive(self) -> list[int]:
        """The labels that state a relation: those that F1 counts."""
        return [i for i in range(len(self.labels)) if i != self.negative]

    @property
    def families(self) -> list[str]:
        """Each label's relation without its direction: "Cause-Effect" of "Cause-Effect(e2,e1)"."""
        return [label.partition("(e")[0] for label in self.labels]


def negatives_clash(labels: Collection[str]) -> str:
    """What is wrong with labels of which several say "none of these"; "" where nothing is."""
    found = [label for label in labels if label in NO_RELATION]
    if len(found) < 2:
        return ""
    return (
        f"{found[0]!r} and {found[1]!r} both say that no relation holds, and F1 leaves out one "
        "label: rename one as the other, in relations.tsv and in all lines"
    )


def content_checksum(data: Any) -> str:
    """sha256 over all content of a data set of sentences or documents; the name is not content.

    Args:
        data: a dataclass of tuples, however deep, of texts and numbers.
    """
    digest = hashlib.sha256()
    for part in fields(data):
        if part.name != "name":
            digest.update(f"{part.name}\0".encode())
            for item in getattr(data, part.name):
                digest.update(f"{item!r}\0".encode())
    return digest.hexdigest()


def require_parts(data: Any, parts: Sequence[str] = SPLITS, items: str = "sentences") -> None:
    """Refuse a data set of which a part is empty.

    Args:
        data: with a name and with each of `parts`.
        parts: of `SPLITS`.
        items: what the parts hold.

    Raises:
        InputError: one of them holds nothing.
    """
    sizes = [len(getattr(data, part)) for part in parts]
    if not all(sizes):
        told = [f"{size} {_SPOKEN[part]}" for size, part in zip(sizes, parts, strict=True)]
        raise InputError(
            f"{data.name}: has {', '.join(told[:-1])} and {told[-1]} {items}; each part needs some"
        )


def read_relations(
    folder: Path,
    name: str = "",
    required: Sequence[str] = ("train", "test"),
    known: Collection[str] = (),
) -> RelationData:
    """Read train, valid, test and unlabelled.jsonl, plain or gzipped, and relations.tsv.

    Each line holds `tokens` (or `text` with character spans), `head` and `tail` ({"span", "type"},
    or the mention itself, which is then looked for) and `relation`, which unlabelled.jsonl need not
    have. Where the untokenised `text` is there as well, it is what models read.

    Args:
        folder: the data set.
        name: what to call it; by default the folder's name.
        required: splits that have to be there.
        known: labels that test may ask for without an example in train or valid.

    Raises:
        InputError: a file is missing or broken, a span is outside of its sentence, a label is not
            in relations.tsv or occurs in test alone, or two labels say that no relation holds.
    """
    data, problems = _scan(folder, name or folder.name, required, known)
    raise_first(problems, folder)
    return data


def check_relations(folder: Path) -> Report:
    """Everything that is wrong with a folder of marked sentences, each with file and line."""
    data, found = _scan(folder, folder.name, ("train", "valid", "test"))
    parts = {split: getattr(data, split) for split in SPLITS}
    problems = Problems()
    for one, other in (("valid", "train"), ("test", "train"), ("test", "valid")):
        there = {(x.text, x.head, x.tail) for x in parts[other]}
        again = sum((x.text, x.head, x.tail) in there for x in parts[one])
        if again:
            problems.warning(
                "duplicate", folder / f"{one}.jsonl", None,
                f"{again} of its {len(parts[one])} sentences are in {other}.jsonl, too, with the "
                "same mentions: leave them in one of the two",
            )  # fmt: skip
    sizes = {f"{split} sentences": len(part) for split, part in parts.items()}
    if data.unlabelled:
        sizes["unlabelled sentences"] = len(data.unlabelled)
    counts = {split: Counter(x.relation for x in part) for split, part in parts.items()}
    labels = {
        label: {split: counts[split][i] for split in SPLITS} for i, label in enumerate(data.labels)
    }
    return Report(
        folder, (*found, *problems.all()), {**sizes, "relations": len(data.labels)}, labels
    )


def is_relations(folder: Path) -> bool:
    """Whether a folder holds marked sentences, not triples."""
    return any(find_file(folder, f"{split}.jsonl") is not None for split in SPLITS)


def read_labels(
    folder: Path, problems: Problems, what: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The columns of relations.tsv: labels, readable names, descriptions.

    Args:
        folder: the data set.
        problems: gets what is wrong with lines of it.
        what: the kind of data set that is looked for.

    Raises:
        InputError: there is no such file.
    """
    path = find_file(folder, "relations.tsv")
    if path is None:
        raise InputError(
            f"{folder}: no relations.tsv (label, name, description); is this a data set of {what}?"
        )
    table = read_table(path, ("label", "name", "description"), problems, optional=2)
    warn_of_header(path, table, (("label", "id", "relation"), ("name", "label")), problems)
    labels, names, descriptions = (tuple(column) for column in table.columns)
    listed: set[str] = set()
    for line, label in zip(table.lines, labels, strict=True):
        if not label.strip():
            problems.error("empty_cell", path, line, "the label is empty: fill it in")
        elif label in listed:
            told = f"label {label!r} was listed before: give each label one line"
            problems.error("duplicate_id", path, line, told)
        listed.add(label)
    return labels, names, descriptions


def _scan(
    folder: Path, name: str, required: Sequence[str], known: Collection[str] = ()
) -> tuple[RelationData, list[Problem]]:
    problems = Problems()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    labels, names, descriptions = read_labels(folder, problems, "relation extraction")
    if told := negatives_clash(labels):
        problems.error("no_relation", folder / "relations.tsv", None, told)
    number = {label: i for i, label in enumerate(labels)}
    found: dict[str, tuple[Example, ...]] = {split: () for split in SPLITS}
    for split in SPLITS:
        path = find_file(folder, f"{split}.jsonl")
        if path is not None:
            found[split] = tuple(_examples(path, number, problems))
        elif split in required:
            problems.error(
                "missing",
                folder / f"{split}.jsonl",
                None,
                "no such file: put its sentences there",
            )
    taught = {one.relation for split in ("train", "valid") for one in found[split]}
    taught |= {number[label] for label in known if label in number}
    lost = sorted({one.relation for one in found["test"]} - taught)
    if found["train"] and lost:
        problems.error(
            "test_only", folder / "test.jsonl", None,
            f"{', '.join(labels[i] for i in lost)} occurs here alone, so that nothing can learn "
            "it: move examples of it to train.jsonl or take it out",
        )  # fmt: skip
    path = find_file(folder, "unlabelled.jsonl")
    unlabelled = tuple(_examples(path, None, problems)) if path is not None else ()
    data = RelationData(name, labels, names, descriptions, **found, unlabelled=unlabelled)
    return data, problems.all()


def _examples(
    path: Path, number: Mapping[str, int] | None, problems: Problems
) -> Iterator[Example]:
    for line, entry in read_json_lines(path, problems):
        try:
            yield example(entry, number)
        except InputError as error:
            problems.error("example", path, line, str(error))


def example(entry: Mapping[str, Any], number: Mapping[str, int] | None) -> Example:
    """One line of a data set.

    Args:
        entry: its JSON object.
        number: index of each label; None where no label is told, which is then -1.

    Raises:
        InputError: something is missing or does not fit.
    """
    label = entry.get("relation")
    if number is not None and not isinstance(label, str):
        raise InputError("expected a relation: a label of relations.tsv")
    if number is not None and label not in number:
        raise InputError(f"label {label!r} is not in relations.tsv: add it there or correct it")
    text, starts, ends = _read_text(entry)
    spans: list[Span] = []
    for side in ("head", "tail"):
        spans.append(_read_span(entry, side, text, starts, ends, spans))
    types = (_type(entry["head"]), _type(entry["tail"]))
    relation = -1 if number is None else number[str(label)]
    return Example(text, spans[0], spans[1], relation, *types, group_of(entry, "doc", "sent"))


def group_of(entry: Mapping[str, Any], *keys: str) -> str:
    """The first of the keys that a line has a value of, as a text; "" without: it stands alone."""
    return next((str(entry[key]) for key in keys if entry.get(key) is not None), "")


def _read_text(entry: Mapping[str, Any]) -> tuple[str, Sequence[int], Sequence[int]]:
    """The text, and where each unit that spans count starts and ends: a token or a character."""
    tokens, text = entry.get("tokens"), entry.get("text")
    if tokens is None and isinstance(text, str) and text.strip():
        return text, range(len(text)), range(1, len(text) + 1)
    if isinstance(tokens, list) and any(str(token).strip() for token in tokens):
        return place_tokens(
            [str(token) for token in tokens], text if isinstance(text, str) else None
        )
    if tokens is None and text is None:
        raise InputError(_EXPECTED)
    what = "text" if tokens is None else "list of tokens"
    raise InputError(f"the {what} is empty: delete the line")


def _read_span(
    entry: Mapping[str, Any],
    side: str,
    text: str,
    starts: Sequence[int],
    ends: Sequence[int],
    taken: Sequence[Span],
) -> Span:
    end = entry.get(side)
    if isinstance(end, str):
        return find_mention(text, end, side, taken)
    try:
        first, last = map(int, end["span"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        raise InputError(_EXPECTED) from None
    if not 0 <= first < last <= len(starts):
        what = "characters of the text" if isinstance(starts, range) else "tokens"
        raise InputError(
            f"{side} span [{first}, {last}) is outside of the {len(starts)} {what}: expected "
            "0 <= start < end <= their number"
        )
    span = starts[first], ends[last - 1]
    if not text[slice(*span)].strip():
        raise InputError(f"{side} span [{first}, {last}) holds white space alone: correct it")
    return span


def _type(end: Any) -> str:
    return str(end.get("type") or "") if isinstance(end, Mapping) else ""


def as_entry(one: Example, labels: Sequence[str]) -> dict[str, Any]:
    """The JSON object that `example` reads back."""
    ends = {
        name: {"span": list(span), "type": kind}
        for name, span, kind in (
            ("head", one.head, one.head_type), ("tail", one.tail, one.tail_type)
        )
    }  # fmt: skip
    return {"text": one.text, **ends, "relation": labels[one.relation], "sent": one.group}


def place_tokens(
    tokens: Sequence[str], text: str | None = None
) -> tuple[str, list[int], list[int]]:
    """The text of tokens, and where each starts and ends: in `text` where they are all found."""
    if text is not None:
        starts, at = [], 0
        for token in tokens:
            at = text.find(token, at)
            if at < 0:
                break
            starts.append(at)
            at += len(token)
        else:
            return text, starts, [a + len(t) for a, t in zip(starts, tokens, strict=True)]
    joined, starts = "", []
    for token in tokens:
        if joined and not (no_spaces(joined[-1]) and no_spaces(token[:1])):
            joined += " "
        starts.append(len(joined))
        joined += token
    return joined, starts, [a + len(t) for a, t in zip(starts, tokens, strict=True)]
