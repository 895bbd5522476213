"""From the text that people have to a folder that a run of relation extraction reads."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data.cleaning import Marked, around_mentions, clean, drop_words
from relgnn.data.passages import Passage, drawn, read_passages, signatures, split_files
from relgnn.data.relations import NO_RELATION, SPLITS, Example, RelationData, negatives_clash
from relgnn.data.sentences import split_sentences
from relgnn.data.shares import stratified, stratified_rows
from relgnn.data.tables import Problems, find_file, raise_alone, read_table, read_text
from relgnn.errors import InputError
from relgnn.runtime import rng

NA = NO_RELATION[0]
SENTENCE_FILES = ("sentences.jsonl", "native_docs.jsonl")
"""Endings of files with every mention of a sentence, not one pair a line."""
_BLANK_LINE = re.compile(r"\n\s*\n")
_WORDS = str.maketrans("_-", "  ")
ENDINGS = (*SENTENCE_FILES, "jsonl", "tsv", "csv")


@dataclass(frozen=True)
class Preparation:
    """What is done to a source.

    Args:
        valid, test: their shares where the source has no such part.
        stop_words: lower-case words that are dropped outside of mentions.
        negatives: pairs without a stated relation for each stated one, in every part.
        symmetric: labels that also hold from tail to head, which is then no negative.
        percents: shares of labels, in percent, for which subsets of train are drawn.
        draws: of each.
        seed: of all draws.
    """

    valid: float = 0.1
    test: float = 0.1
    stop_words: frozenset[str] = frozenset()
    negatives: float = 0.0
    symmetric: frozenset[str] = frozenset()
    percents: tuple[int, ...] = ()
    draws: int = 3
    seed: int = 0


def prepare(source: Path, how: Preparation) -> dict[str, str]:
    """The files of a folder of marked sentences, or of plain ones where the source marks nothing.

    Args:
        source: a file, or a folder with train, and valid (or dev) and test where it has them; see
            `read_passages`.
        how: the options.

    Returns:
        name and content of train.jsonl, valid.jsonl, test.jsonl, relations.tsv and, where it is
        asked for, subsets.json; of texts.jsonl alone for a plain text.

    Raises:
        InputError: the source is broken, of a mention nothing is left, or nothing to train on.
    """
    parts: dict[str, list[Passage]] = {}
    for split, path in _files(source).items():
        passages = read_passages(path)
        if passages is None:
            return {"texts.jsonl": _texts(path)}
        parts[split] = [prepared(one, how.stop_words) for one in passages]
    data = to_data(source.stem, parts, how)
    if not data.train:
        raise InputError(
            f"{source}: no sentence is left to train on ({len(data.valid)} for valid, "
            f"{len(data.test)} for test); give more sentences, or smaller shares"
        )
    files = files_of(_named(data, source if source.is_dir() else source.parent))
    if how.percents:
        files["subsets.json"] = json.dumps(
            subsets(data.train, how.percents, how.draws, how.seed), indent=1
        )
    return files


def prepared(one: Passage, stop_words: Collection[str] = ()) -> Passage:
    """A passage cleaned, cut to the sentences of its mentions, and without stop words.

    Raises:
        InputError: of a mention nothing is left.
    """
    # what tells all its mentions is a sentence already
    marked: Marked = one.text, list(one.mentions)
    marked = clean(*(marked if one.whole else around_mentions(*marked)))
    if stop_words:
        marked = drop_words(*marked, stop_words)
    text, spans = marked
    for start, end in spans:
        if start == end:
            raise InputError(f"a mention holds no letter that can be seen, in {text!r}")
    return one._replace(text=text, mentions=tuple(spans))


def to_data(name: str, parts: Mapping[str, Sequence[Passage]], how: Preparation) -> RelationData:
    """Examples in train, valid and test, with negatives where they are asked for.

    Args:
        name: of the data set.
        parts: passages of "train", and of "valid" and "test" where those are given; they are taken
            from train, relation by relation and passage by passage, where they are not.
        how: the options.

    Raises:
        InputError: two labels say that no relation holds.
    """
    everything = [one for part in parts.values() for one in part]
    labels = sorted({label for one in everything for _, _, label in one.relations})
    if how.negatives:
        labels = [*(label for label in labels if label != NA), NA]
    if told := negatives_clash(labels):
        raise InputError(f"{name}: {told}")
    allowed = signatures(parts["train"])
    splits: dict[str, Sequence[Example]] = {}
    for split, passages in parts.items():
        # a text without a document is one of its own
        number = {one.text: i for i, one in enumerate(passages)}
        own = [
            one if one.group else one._replace(group=f"{split} {number[one.text]}")
            for one in passages
        ]
        generator = rng(f"prepare/negatives/{split}", how.seed)
        splits[split] = _examples(own, labels, how, allowed, generator)
    left = 1.0
    for split, share in (("test", how.test), ("valid", how.valid)):
        if split not in splits:
            generator = rng(f"prepare/{split}", how.seed)
            # stratified takes a share of what is left
            part = share / left
            splits[split], splits["train"] = (
                stratified(splits["train"], part, generator) if part else ((), splits["train"])
            )
            left -= share
    readable = tuple(
        "no relation" if label in NO_RELATION else label.translate(_WORDS).lower()
        for label in labels
    )
    return RelationData(
        name, tuple(labels), readable, ("",) * len(labels),
        **{split: tuple(splits[split]) for split in SPLITS},
    )  # fmt: skip


def _examples(
    passages: Sequence[Passage],
    labels: Sequence[str],
    how: Preparation,
    allowed: Collection[tuple[str, str]],
    generator: np.random.Generator,
) -> list[Example]:
    number = {label: i for i, label in enumerate(labels)}
    found = [one for passage in passages for one in passage.stated(number)]
    if how.negatives and not all(one.whole for one in passages):
        raise InputError(
            "--negatives needs all mentions of a sentence, as JSON lines with tokens, entities and "
            "relations tell; the source marks one pair a line, and others may be related unsaid"
        )
    if how.negatives:
        pairs = [(one, pair) for one in passages for pair in one.unstated(allowed, how.symmetric)]
        count = round(how.negatives * len(found))
        found += [one.example(pair, number[NA]) for one, pair in drawn(pairs, count, generator)]
    return found


def with_negatives(
    data: RelationData, folder: Path, ratio: float, generator: np.random.Generator
) -> RelationData:
    """A data set in which also pairs without a relation stand, as `NA`.

    Of its sentences with all their mentions, train has every stated pair and `ratio` times as many
    of the others whose types some relation has in train; valid and test have all of both.

    Args:
        data: the data set, whose labels stay and are joined by `NA`.
        folder: has `{train, valid or dev, test}.sentences.jsonl` or `.native_docs.jsonl`.
        ratio: at least 0; where there are fewer others than that, all.
        generator: of the draw.

    Raises:
        InputError: there are no such files, one is broken, or another label than `NA` says that
            no relation holds.
    """
    files = split_files(folder, SENTENCE_FILES)
    if set(files) != set(SPLITS):
        raise InputError(
            f"{folder}: data.negatives needs train, valid and test.{SENTENCE_FILES[0]}, which tell "
            "all mentions of a sentence; set data.negatives=null"
        )
    labels = data.labels if NA in data.labels else (*data.labels, NA)
    if told := negatives_clash(labels):
        raise InputError(f"{folder}: with data.negatives {told}")
    number = {label: i for i, label in enumerate(labels)}
    passages = {split: read_passages(path) or [] for split, path in files.items()}
    for split, part in passages.items():
        unknown = {label for one in part for _, _, label in one.relations} - number.keys()
        if unknown:
            raise InputError(
                f"{files[split]}: {min(unknown)!r} is not in relations.tsv: add it there"
            )
    allowed = signatures(passages["train"])
    parts = {}
    for split, part in passages.items():
        stated = [one for passage in part for one in passage.stated(number)]
        pairs = [(one, pair) for one in part for pair in one.unstated(allowed)]
        if split == "train":
            pairs = drawn(pairs, round(ratio * len(stated)), generator)
        parts[split] = (*stated, *(one.example(pair, number[NA]) for one, pair in pairs))
    added = ("no relation",) * (len(labels) - len(data.labels))
    return replace(
        data, labels=labels, label_names=(*data.label_names, *added),
        descriptions=(*data.descriptions, *("" for _ in added)),
        train=parts["train"], valid=parts["valid"], test=parts["test"],
    )  # fmt: skip


def subsets(
    train: Sequence[Example], percents: Iterable[int], draws: int, seed: int
) -> dict[str, dict[str, list[int]]]:
    """Rows of train that keep their labels, by `seed<S>_label<P>`, as `few_labels` reads them.

    Each keeps the shares of the relations, and never divides a group.
    """
    found = {}
    for percent in percents:
        for draw in range(draws):
            generator = rng(f"prepare/subset/{draw}", seed)
            labelled, unlabelled = stratified_rows(train, percent / 100, generator)
            found[f"seed{draw}_label{percent}"] = {"labelled": labelled, "unlabelled": unlabelled}
    return found


def files_of(data: RelationData) -> dict[str, str]:
    """Names and contents of the files that `read_relations` reads."""
    rows = zip(data.labels, data.label_names, data.descriptions, strict=True)
    files = {"relations.tsv": "".join("\t".join(row) + "\n" for row in rows)}
    for split in SPLITS:
        lines = [json.dumps(_entry(one, data), ensure_ascii=False) for one in getattr(data, split)]
        files[f"{split}.jsonl"] = "".join(f"{line}\n" for line in lines)
    return files


def _entry(one: Example, data: RelationData) -> dict[str, Any]:
    ends = {
        side: {"span": span, "text": one.text[slice(*span)], "type": kind}
        for side, span, kind in (
            ("head", one.head, one.head_type), ("tail", one.tail, one.tail_type)
        )
    }  # fmt: skip
    entry = {"text": one.text, **ends, "relation": data.labels[one.relation]}
    return entry | ({"doc": one.group} if one.group else {})


def _files(source: Path) -> dict[str, Path]:
    if not source.is_dir():
        return {"train": source}
    found = split_files(source, ENDINGS)
    if "train" not in found:
        raise InputError(
            f"{source}: has no train file (train.jsonl, train.sentences.jsonl, train.csv, …); give "
            "a file, or a folder with one"
        )
    return found


def _texts(path: Path) -> str:
    """The sentences of a plain text as a corpus; a blank line ends one, too."""
    paragraphs = [clean(one)[0] for one in _BLANK_LINE.split(read_text(path, Problems()))]
    found = [one[start:end] for one in paragraphs for start, end in split_sentences(one)]
    lines = [
        json.dumps({"id": f"s{i}", "text": one}, ensure_ascii=False)
        for i, one in enumerate(found, 1)
    ]
    return "".join(f"{line}\n" for line in lines)


def _named(data: RelationData, folder: Path) -> RelationData:
    """With the readable names and descriptions that a relations.tsv beside the source has."""
    path = find_file(folder, "relations.tsv")
    if path is None:
        return data
    problems = Problems()
    table = read_table(path, ("label", "name", "description"), problems, optional=2)
    raise_alone(problems, folder)
    known = {label: (name, text) for label, name, text in zip(*table.columns, strict=True)}
    rows = [
        known.get(label, (name, ""))
        for label, name in zip(data.labels, data.label_names, strict=True)
    ]
    return replace(
        data, label_names=tuple(name for name, _ in rows), descriptions=tuple(x for _, x in rows)
    )
