"""Texts with all their mentions and the relations between them, from the formats people have."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from relgnn.data.marked import Marked
from relgnn.data.mentions import Span
from relgnn.data.relations import Example, example, group_of, place_tokens
from relgnn.data.tables import Problems, find_file, raise_alone, read_json_lines, read_text
from relgnn.errors import InputError

COLUMNS = ("text", "head", "tail", "relation")
LONE = "may have no partner: double it within a quoted cell, or save the table as JSON lines"
Pair = tuple[int, int]


class Passage(NamedTuple):
    """A text, its mentions and the relations that it states.

    Args:
        text: one sentence or more.
        mentions: characters of each.
        types: kind of each mention's entity, "" where unknown.
        relations: (head, tail, label), places in `mentions`.
        group: document that several passages share, "" where it stands alone.
        whole: every mention is there, so that a pair without a relation has none.
    """

    text: str
    mentions: tuple[Span, ...]
    types: tuple[str, ...]
    relations: tuple[tuple[int, int, str], ...]
    group: str = ""
    whole: bool = True

    def example(self, pair: Pair, relation: int) -> Example:
        """The two mentions of a pair with their relation."""
        (head, tail), types = (self.mentions[i] for i in pair), [self.types[i] for i in pair]
        return Example(self.text, head, tail, relation, types[0], types[1], self.group)

    def stated(self, number: Mapping[str, int]) -> list[Example]:
        """One example for each relation that is stated; `number` is the index of each label."""
        return [self.example((head, tail), number[label]) for head, tail, label in self.relations]

    def unstated(
        self, signatures: Collection[tuple[str, str]], symmetric: Collection[str] = ()
    ) -> list[Pair]:
        """Ordered pairs of mentions whose types a relation has and that state none.

        Args:
            signatures: (head's type, tail's type) of relations, see `signatures`.
            symmetric: labels that also hold from tail to head.
        """
        taken = {(head, tail) for head, tail, _ in self.relations}
        taken |= {(tail, head) for head, tail, label in self.relations if label in symmetric}
        everyone = range(len(self.mentions))
        return [
            (head, tail)
            for head in everyone
            for tail in everyone
            if self.mentions[head] != self.mentions[tail]
            and (self.types[head], self.types[tail]) in signatures
            and (head, tail) not in taken
        ]


def signatures(passages: Iterable[Passage]) -> set[tuple[str, str]]:
    """(head's type, tail's type) of every relation that is stated."""
    return {
        (one.types[head], one.types[tail]) for one in passages for head, tail, _ in one.relations
    }


def drawn(
    candidates: list[tuple[Passage, Pair]], count: int, generator: np.random.Generator
) -> list[tuple[Passage, Pair]]:
    """At most `count` of the candidates, in their order."""
    if count >= len(candidates):
        return candidates
    chosen = generator.choice(len(candidates), count, replace=False)
    return [candidates[i] for i in sorted(chosen.tolist())]


def split_files(folder: Path, endings: Iterable[str]) -> dict[str, Path]:
    """The file of each split that a folder has; `dev` is another name of `valid`.

    Args:
        folder: where to look.
        endings: what follows the split's name, the first found wins; plain or with .gz.
    """
    found = {}
    for split, names in {"train": ["train"], "valid": ["valid", "dev"], "test": ["test"]}.items():
        path = find_file(folder, *(f"{name}.{end}" for end in endings for name in names))
        if path is not None:
            found[split] = path
    return found


def read_passages(path: Path) -> list[Passage] | None:
    """What a file marks, or None for a plain text; each line of JSON tells its own format.

    - `tokens`, `entities` ([{"span", "type"}]) and `relations` ([{"head", "tail", "type"}]);
    - a document of DyGIE (Wadden et al., 2019): `sentences`, `ner` and `relations`, whose places
      count the document's tokens and include the last one;
    - an example: `tokens` or `text`, `head`, `tail` and `relation`;
    - a table, with commas or tabs, whose first line names the columns text, head, tail and
      relation: head and tail are looked for in the text. head_type, tail_type and doc may be there.

    Args:
        path: plain or gzipped.

    Raises:
        InputError: it cannot be read, is empty, or a line is broken; the first is named.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    problems = Problems()
    whole = read_text(path, problems)
    raise_alone(problems, path.parent)
    text = whole.strip()
    if not text:
        raise InputError(f"{path}: is empty; give texts with marked mentions, or a plain text")
    first = text.partition("\n")[0]
    if text[0] == "{":
        lines: Iterator[tuple[int, Mapping[str, Any]]] = read_json_lines(path, problems)
    elif set(COLUMNS) <= set(first.replace("\t", ",").replace('"', "").strip().split(",")):
        lines = _table(path, whole, "\t" if "\t" in first else ",")
    elif text[0] == "[":
        raise InputError(f"{path}: holds one JSON list; write one object a line")
    elif path.name.removesuffix(".gz").endswith((".tsv", ".csv")):
        raise InputError(f"{path}: its first line does not name the columns {', '.join(COLUMNS)}")
    else:
        return None
    found: list[Passage] = []
    for line, entry in lines:
        try:
            found += _parse(entry)
        except InputError as error:
            problems.error("example", path, line, str(error))
    raise_alone(problems, path.parent)
    return found


def _table(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    blank = len(text) - len(text.lstrip())
    before = text.count("\n", 0, blank)
    rows = csv.DictReader(io.StringIO(text[blank:], newline=""), delimiter=delimiter)
    try:
        for row in rows:
            if not any(isinstance(cell, str) and cell.strip() for cell in row.values()):
                continue
            line = before + rows.line_num
            # what a lone quotation mark begins goes on to the next one, over the ends of lines
            if delimiter == "\t" and any("\n" in str(cell) for cell in row.values()):
                raise InputError(f"{path}:{line}: a quotation mark {LONE}")
            yield line, row
    except csv.Error as error:
        line = before + rows.line_num + 1  # the one that could not be ended
        raise InputError(f"{path}:{line}: {error}; a quotation mark {LONE}") from None


def _parse(entry: Mapping[str, Any]) -> list[Passage]:
    parse: Callable[[Mapping[str, Any]], list[Passage]] = _one_example
    if "sentences" in entry:
        parse = _document
    elif "entities" in entry:
        parse = _sentence
    try:
        return parse(entry)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise InputError(
            "expected tokens, entities and relations, or a DyGIE document, or text, head, tail and "
            "relation; a place is outside of its list, or something is missing"
        ) from None


def _one_example(entry: Mapping[str, Any]) -> list[Passage]:
    found = example(entry, None)
    label = entry.get("relation")
    if not isinstance(label, str) or not label.strip():
        raise InputError("the relation is missing: write its label")
    types = [
        kind or str(entry.get(f"{side}_type") or "")
        for side, kind in (("head", found.head_type), ("tail", found.tail_type))
    ]
    ends, relation = (found.head, found.tail), (0, 1, label.strip())
    return [Passage(found.text, ends, (types[0], types[1]), (relation,), found.group, whole=False)]


def _sentence(entry: Mapping[str, Any]) -> list[Passage]:
    return [_placed(Marked.of(entry), group_of(entry, "doc"))]


def _document(entry: Mapping[str, Any]) -> list[Passage]:
    found, first = [], 0
    for tokens, named, related in zip(
        entry["sentences"], entry["ner"], entry["relations"], strict=True
    ):
        mentions = [(int(a) - first, int(b) - first + 1, str(kind)) for a, b, kind in named]
        index = {(a + first, b + first - 1): i for i, (a, b, _) in enumerate(mentions)}
        relations = [(index[a, b], index[c, d], str(label)) for a, b, c, d, label in related]
        marked = Marked(
            tuple(str(token) for token in tokens), tuple((a, b) for a, b, _ in mentions),
            tuple(kind for _, _, kind in mentions), tuple(relations),
        )  # fmt: skip
        found.append(_placed(marked, group_of(entry, "doc_key")))
        first += len(tokens)
    return found


def _placed(marked: Marked, group: str) -> Passage:
    """The passage that words with mentions are."""
    text, starts, ends = place_tokens(list(marked.words))
    marked.require_places()
    places = tuple((starts[a], ends[b - 1]) for a, b in marked.spans)
    return Passage(text, places, marked.types, marked.relations, group)
