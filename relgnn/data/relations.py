"""Sentences with two marked entities and the relation between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from relgnn.data.folder import Report
from relgnn.data.tables import (
    Problem,
    Problems,
    find_file,
    raise_first,
    read_json,
    read_json_lines,
    read_table,
)
from relgnn.errors import InputError

Span = tuple[int, int]
"""Characters [start, end) of a text."""

SPLITS = ("train", "valid", "test")
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


def read_relations(
    folder: Path, name: str = "", required: Sequence[str] = ("train", "test")
) -> RelationData:
    """Read train, valid, test and unlabelled.jsonl, plain or gzipped, and relations.tsv.

    Each line holds `tokens` (or `text` with character spans), `head` and `tail` ({"span", "type"})
    and `relation`, which unlabelled.jsonl need not have. Where the untokenised `text` is there as
    well, it is what models read.

    Args:
        folder: the data set.
        name: what to call it; by default the folder's name.
        required: splits that have to be there.

    Raises:
        InputError: a file is missing or broken, a span is outside of its sentence, a label is not
            in relations.tsv, or occurs in test alone.
    """
    data, problems = _scan(folder, name or folder.name, required)
    raise_first(problems, folder)
    return data


def check_relations(folder: Path) -> Report:
    """Everything that is wrong with a folder of marked sentences, each with file and line."""
    data, problems = _scan(folder, folder.name, ("train", "valid", "test"))
    parts = [*SPLITS, *(["unlabelled"] if data.unlabelled else [])]
    sizes = {f"{part} sentences": len(getattr(data, part)) for part in parts}
    return Report(folder, tuple(problems), {**sizes, "relations": len(data.labels)})


def is_relations(folder: Path) -> bool:
    """Whether a folder holds marked sentences, not triples."""
    return any(find_file(folder, f"{split}.jsonl") is not None for split in SPLITS)


def _scan(folder: Path, name: str, required: Sequence[str]) -> tuple[RelationData, list[Problem]]:
    problems = Problems()
    path = find_file(folder, "relations.tsv")
    if path is None:
        raise InputError(
            f"{folder}: no relations.tsv (label, name, description); is this a data set of "
            "relation extraction?"
        )
    table = read_table(path, ("label", "name", "description"), problems, optional=2)
    labels, names, descriptions = (tuple(column) for column in table.columns)
    number = {label: i for i, label in enumerate(labels)}
    found: dict[str, tuple[Example, ...]] = {split: () for split in SPLITS}
    for split in SPLITS:
        path = find_file(folder, f"{split}.jsonl")
        if path is not None:
            found[split] = tuple(_examples(path, number, problems))
        elif split in required:
            problems.error(
                "missing", folder / f"{split}.jsonl", None, "no such file: copy the data set again"
            )
    known = {one.relation for split in ("train", "valid") for one in found[split]}
    lost = sorted({one.relation for one in found["test"]} - known)
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
    relation = -1
    try:
        if number is not None:
            label = entry["relation"]
            relation = number.get(label, -1)
        spans = [tuple(map(int, entry[side]["span"])) for side in ("head", "tail")]
        types = [str(entry[side].get("type") or "") for side in ("head", "tail")]
    except (KeyError, TypeError, ValueError, AttributeError):
        told = "" if number is None else ", and relation"
        raise InputError(
            f"expected tokens (or text), head and tail with a span [start, end){told}"
        ) from None
    if number is not None and relation < 0:
        raise InputError(f"label {label!r} is not in relations.tsv: add it there or correct it")
    tokens, text = entry.get("tokens"), entry.get("text")
    starts: Sequence[int]
    ends_at: Sequence[int]
    if tokens is None and isinstance(text, str):
        starts, ends_at = range(len(text)), range(1, len(text) + 1)
        what = "characters of the text"
    elif isinstance(tokens, list) and any(str(token).strip() for token in tokens):
        text, starts, ends_at = place_tokens([str(token) for token in tokens], text)
        what = "tokens"
    else:
        raise InputError("the list of tokens is empty: delete the line")
    for side, (start, end) in zip(("head", "tail"), spans, strict=True):
        if not 0 <= start < end <= len(starts):
            raise InputError(
                f"{side} span [{start}, {end}) is outside of the {len(starts)} {what}: expected "
                "0 <= start < end <= their number"
            )
    head, tail = ((starts[a], ends_at[b - 1]) for a, b in spans)
    group = entry.get("doc", entry.get("sent", ""))
    return Example(text, head, tail, relation, types[0], types[1], str(group))


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
        if joined and not (_no_spaces(joined[-1]) and _no_spaces(token[:1])):
            joined += " "
        starts.append(len(joined))
        joined += token
    return joined, starts, [a + len(t) for a, t in zip(starts, tokens, strict=True)]


def _no_spaces(character: str) -> bool:
    """Whether it belongs to a script that is written without spaces: Chinese or Japanese."""
    return "\u3000" <= character <= "\u9fff" or "\uff00" <= character <= "\uffef"


def few_labels(data: RelationData, folder: Path, percent: int, draw: int) -> RelationData:
    """A data set with a frozen share of its labels; the other sentences that it names lose theirs.

    Args:
        data: the whole.
        folder: has the subsets as a JSON object, `seed<S>_label<P>` to row numbers of train.
        percent: P.
        draw: which of the draws, from 0, in the order of S.

    Raises:
        InputError: there is no such subset.
    """
    path = find_file(folder, "subsets_generated_here.json", "subsets.json")
    problems = Problems()
    known = read_json(path, problems) or {} if path is not None else {}
    raise_first(problems.all(), folder)
    names = sorted(
        (name for name in known if name.endswith(f"_label{percent}")),
        key=lambda name: int(name.removeprefix("seed").split("_")[0]),
    )
    if not names:
        shares = sorted({int(name.rsplit("_label", 1)[1]) for name in known})
        raise InputError(
            f"{folder}: no subset with {percent} % of the labels; there are {shares or 'none'}"
        )
    subset = known[names[draw % len(names)]]
    labelled = tuple(data.train[i] for i in subset["labelled"])
    unlabelled = tuple(data.train[i]._replace(relation=-1) for i in subset["unlabelled"])
    return replace(data, train=labelled, unlabelled=(*data.unlabelled, *unlabelled))


def stratified(
    examples: Sequence[Example], share: float, generator: np.random.Generator
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split into a part with `share` of every relation's examples, and the rest.

    Examples of one group (sentence or document) go to the same side, so what a relation gets is
    off by a group at most. A relation with a single group stays in the rest.

    Args:
        examples: what to split.
        share: in (0, 1).
        generator: draws.

    Returns:
        the part and the rest, both in the order of `examples`.
    """
    groups: dict[str, list[int]] = {}
    for i, one in enumerate(examples):
        groups.setdefault(one.group or f"\0{i}", []).append(i)
    wanted = {
        relation: share * count
        for relation, count in Counter(one.relation for one in examples).items()
    }
    members = list(groups.values())
    taken: set[int] = set()
    have: Counter[int] = Counter()
    for index in generator.permutation(len(members)):
        own = Counter(examples[i].relation for i in members[index])
        # Take the group where that brings the counts nearer to what is wanted.
        gain = sum(abs(wanted[r] - have[r]) - abs(wanted[r] - have[r] - n) for r, n in own.items())
        if gain > 0:
            taken.update(members[index])
            have.update(own)
    part = tuple(one for i, one in enumerate(examples) if i in taken)
    rest = tuple(one for i, one in enumerate(examples) if i not in taken)
    return part, rest
