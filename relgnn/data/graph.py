"""The immutable knowledge graph that every other house reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import count
from types import MappingProxyType
from typing import Any

import numpy as np

from relgnn.data.sentences import first_sentence, split_sentences
from relgnn.errors import InputError

Triples = np.ndarray
"""int64 [N, 3]: head, relation, tail ids."""

STRATA = ("feature", "corpus", "none")
"""Where a triple's text evidence is; position = the code in `KnowledgeGraph.strata`."""


@dataclass(frozen=True)
class Text:
    """One unlabelled document; `entity` is the entity whose page it is, None for any other text."""

    id: str
    text: str
    entity: int | None


@dataclass(frozen=True)
class Sentence:
    """One sentence of a text; `start` and `end` are character offsets in that text.

    `paragraph` counts the line breaks between sentences before it: extracts of encyclopedias have
    a paragraph a line.
    """

    id: int
    text_id: str
    start: int
    end: int
    text: str
    entity: int | None
    paragraph: int = 0


def sentences_of(texts: Iterable[Text]) -> Iterator[Sentence]:
    """Every sentence of every text, in order, numbered from 0; one text is held at a time."""
    numbers = count()
    for text in texts:
        paragraph = before = 0
        for start, end in split_sentences(text.text):
            paragraph += before > 0 and "\n" in text.text[before:start]
            before = end
            yield Sentence(
                next(numbers), text.id, start, end, text.text[start:end], text.entity, paragraph
            )


def frozen_array(values: Any, dtype: Any = np.int64, columns: int | None = None) -> np.ndarray:
    """A read-only array of `values`, [N, columns] where `columns` is given.

    A view that somebody else can write through is copied.
    """
    array = np.asarray(values, dtype=dtype)
    if columns is not None:
        array = array.reshape(-1, columns)
    if array.flags.writeable or array.base is not None:
        array = array.copy()
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False, repr=False)
class KnowledgeGraph:
    """Triples, names and texts of one data set; nothing in it can be changed.

    Ids of entities and relations are positions in `entities` and `relations`. Rows of every split
    keep the order of their file.

    Attributes:
        name: what the graph was loaded as.
        entities, relations: the data set's own ids.
        entity_names, entity_descriptions, relation_names, relation_descriptions: "" where unknown.
        train, valid, test: int64 [N, 3], what is given.
        hidden: int64 [H, 3], the triples of train and valid that `at_fraction` cut away.
        texts: the unlabelled corpus, page by page.
        types: per entity its type ids.
        type_labels: readable label of each type id.
        aliases: per entity other names; () for a graph whose source has none.
        strata: split -> int8 [N], code into `STRATA`; None where the data set has no strata.
        negatives: "valid" and "test" -> int64 [N, 3] checked false triples; {} if there are none.
        times: split -> array of N dates or time steps as text; None for a static graph.
        fractions: "<percent>/<seed>" -> split -> kept rows; None where they are not frozen.
        dropped_duplicates: split -> number of repeated rows that the reader left out.
    """

    name: str
    entities: tuple[str, ...]
    relations: tuple[str, ...]
    entity_names: tuple[str, ...]
    entity_descriptions: tuple[str, ...]
    relation_names: tuple[str, ...]
    relation_descriptions: tuple[str, ...]
    train: Triples
    valid: Triples
    test: Triples
    hidden: Triples = field(default_factory=lambda: np.empty((0, 3), dtype=np.int64))
    texts: tuple[Text, ...] = ()
    types: tuple[tuple[str, ...], ...] = ()
    type_labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[tuple[str, ...], ...] = ()
    strata: Mapping[str, np.ndarray] | None = None
    negatives: Mapping[str, Triples] = field(default_factory=dict)
    times: Mapping[str, np.ndarray] | None = None
    fractions: Mapping[str, Mapping[str, np.ndarray]] | None = None
    dropped_duplicates: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Freeze every array and mapping, and refuse ids that are out of range."""
        freeze = object.__setattr__
        for split in ("train", "valid", "test", "hidden"):
            freeze(self, split, frozen_array(getattr(self, split), columns=3))
            self._require_known(split, getattr(self, split))
        freeze(self, "negatives", _freeze_mapping(self.negatives, columns=3))
        for split, triples in self.negatives.items():
            self._require_known(f"{split} negatives", triples)
        if self.strata is not None:
            freeze(self, "strata", _freeze_mapping(self.strata, np.int8))
        if self.times is not None:
            freeze(self, "times", _freeze_mapping(self.times, None))
        if self.fractions is not None:
            rows = {key: _freeze_mapping(value) for key, value in self.fractions.items()}
            freeze(self, "fractions", MappingProxyType(rows))
        freeze(self, "type_labels", MappingProxyType(dict(self.type_labels)))
        freeze(self, "dropped_duplicates", MappingProxyType(dict(self.dropped_duplicates)))
        if not self.types:
            freeze(self, "types", ((),) * self.num_entities)

    def _require_known(self, what: str, triples: Triples) -> None:
        limits = (self.num_entities, self.num_relations, self.num_entities)
        if triples.size and (triples.min() < 0 or (triples.max(axis=0) >= limits).any()):
            raise ValueError(f"{self.name}: {what} holds an id outside {limits}")

    def __repr__(self) -> str:
        """The name and the sizes."""
        sizes = f"{len(self.train)}/{len(self.valid)}/{len(self.test)} triples"
        return f"KnowledgeGraph({self.name!r}, {sizes}, {self.num_entities} entities)"

    @property
    def num_entities(self) -> int:
        """Number of entities."""
        return len(self.entities)

    @property
    def num_relations(self) -> int:
        """Number of relations, inverses not counted."""
        return len(self.relations)

    def entity_label(self, entity: int) -> str:
        """An entity's name, or its id where it has none."""
        return self.entity_names[entity] or self.entities[entity]

    def relation_label(self, relation: int) -> str:
        """The same of a relation."""
        return self.relation_names[relation] or self.relations[relation]

    def ids(self, triple: Iterable[int]) -> tuple[str, str, str]:
        """The ids of a triple."""
        head, relation, tail = triple
        return self.entities[head], self.relations[relation], self.entities[tail]

    @cached_property
    def checksum(self) -> str:
        """sha256 over all content; the name is not content."""
        digest = hashlib.sha256()
        for part in fields(self):
            if part.name != "name":
                digest.update(part.name.encode())
                for piece in _pieces(getattr(self, part.name)):
                    digest.update(len(piece).to_bytes(8, "little"))
                    digest.update(piece)
        return digest.hexdigest()

    def at_fraction(self, fraction: float, split_seed: int) -> KnowledgeGraph:
        """The same graph with only a fraction of train and valid given; the rest is `hidden`.

        Frozen rows are used where the data set has them. Elsewhere rows are drawn for each
        relation, at least one train triple each, and a smaller fraction of a seed lies inside a
        larger one.

        Args:
            fraction: share of the triples to keep, in (0, 1]; 1 returns the graph itself.
            split_seed: which draw.

        Raises:
            InputError: where the fraction is out of range, is not frozen in a data set that has
                frozen fractions, or the graph was cut before.
        """
        if not 0 < fraction <= 1:
            raise InputError(
                f"data.fraction is {fraction}: expected a number above 0 and at most 1"
            )
        if fraction == 1:
            return self
        if len(self.hidden):
            raise InputError(
                f"{self.name} is already cut to a fraction: cut the graph that `load` returned"
            )
        rows = self._kept_rows(fraction, split_seed)
        kept = {split: np.sort(rows[split]) for split in ("train", "valid")}
        cut = {
            split: np.setdiff1d(np.arange(len(getattr(self, split))), kept[split])
            for split in ("train", "valid")
        }

        def divide(part: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {
                "train": part["train"][kept["train"]],
                "valid": part["valid"][kept["valid"]],
                "test": part["test"],
                "hidden": np.concatenate([part[split][cut[split]] for split in cut]),
            }

        triples = divide({"train": self.train, "valid": self.valid, "test": self.test})
        return replace(
            self,
            train=triples["train"],
            valid=triples["valid"],
            hidden=triples["hidden"],
            strata=None if self.strata is None else divide(self.strata),
            times=None if self.times is None else divide(self.times),
            fractions=None,
        )

    def _kept_rows(self, fraction: float, split_seed: int) -> Mapping[str, np.ndarray]:
        if self.fractions is None:
            return _draw_rows(self.train, self.valid, fraction, split_seed)
        key = f"{round(100 * fraction, 6):g}/{split_seed}"
        if key not in self.fractions:
            percents = sorted({float(k.split("/")[0]) / 100 for k in self.fractions})
            seeds = sorted({int(k.split("/")[1]) for k in self.fractions})
            raise InputError(
                f"{self.name} has no frozen fraction {fraction:g} with split_seed {split_seed}: "
                f"set data.fraction to one of {', '.join(f'{p:g}' for p in percents)} or 1, "
                f"and data.split_seed to one of {', '.join(map(str, seeds))}"
            )
        return self.fractions[key]

    def filter_triples(self, split: str) -> Triples:
        """Known triples to filter ranks with: given + valid at valid, everything at test.

        Args:
            split: "valid" or "test".
        """
        if split == "valid":
            return np.concatenate([self.train, self.valid])
        if split == "test":
            return np.concatenate([self.train, self.valid, self.hidden, self.test])
        raise ValueError(f"filters exist for valid and test, not for {split!r}")

    def require(self, split: str) -> None:
        """Refuse to evaluate a split without triples.

        Args:
            split: "valid" or "test".

        Raises:
            InputError: it has none.
        """
        if not len(getattr(self, split)):
            raise InputError(
                f"{self.name}: has no {split} triples to evaluate; add {split}.tsv, or choose "
                "another --split"
            )

    def labelled(self, split: str) -> tuple[Triples, np.ndarray]:
        """A split's triples and its checked false ones [N, 3], and which are true, bool [N].

        Args:
            split: "valid" or "test".

        Raises:
            InputError: the data set has no checked false triples of the split.
        """
        if split not in self.negatives:
            raise InputError(
                f"{self.name} has no checked false triples: add {split}_negatives.tsv to its folder"
            )
        true, false = getattr(self, split), self.negatives[split]
        return np.concatenate([true, false]), np.arange(len(true) + len(false)) < len(true)

    def node_texts(self) -> list[str]:
        """Per entity its name, its description and the first sentence of its own page, joined."""
        opening: dict[int, str] = {}
        for text in self.texts:
            if text.entity is not None and text.entity not in opening:
                opening[text.entity] = first_sentence(text.text)
        return [
            _join_texts(name, description, opening.get(entity, ""))
            for entity, (name, description) in enumerate(
                zip(self.entity_names, self.entity_descriptions, strict=True)
            )
        ]

    def sentences(self) -> list[Sentence]:
        """Every sentence of every text, in order; a sentence's id is its position."""
        return list(self._sentences)

    @cached_property
    def _sentences(self) -> tuple[Sentence, ...]:
        return tuple(sentences_of(self.texts))


def first_occurrence(triples: Triples, times: np.ndarray | None = None) -> np.ndarray:
    """Per row the first row with the same triple (at the same time), int64 [N].

    Args:
        triples: int64 [N, 3], ids from -1.
        times: N dates or time steps, None where there are none.
    """
    key = np.zeros(len(triples), dtype=np.int64)
    # Ids of a graph that fits in memory, multiplied, stay below 2**63.
    for column in triples.T + 1:
        key = key * (column.max(initial=0) + 1) + column
    if times is not None:
        moments, moment = np.unique(times, return_inverse=True)
        key = key * len(moments) + moment
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    return first[group]


def _freeze_mapping(
    mapping: Mapping[str, Any], dtype: Any = np.int64, columns: int | None = None
) -> Mapping[str, np.ndarray]:
    return MappingProxyType(
        {key: frozen_array(value, dtype, columns) for key, value in mapping.items()}
    )


def _pieces(value: Any) -> Iterator[bytes]:
    """The bytes of a field, in an order that does not depend on how it was built."""
    if isinstance(value, np.ndarray):
        yield str(value.shape).encode()
        yield value.tobytes() if value.dtype.kind in "iu" else "\0".join(value).encode()
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield str(key).encode()
            yield from _pieces(value[key])
    elif isinstance(value, tuple) and value and isinstance(value[0], tuple):
        yield from ("\0".join(item).encode() for item in value)
    elif isinstance(value, tuple) and value and isinstance(value[0], Text):
        yield from (f"{text.id}\0{text.entity}\0{text.text}".encode() for text in value)
    elif isinstance(value, tuple):
        yield "\0".join(value).encode()
    else:
        yield str(value).encode()


def _join_texts(*parts: str) -> str:
    closed = (part if part[-1] in ".!?" else part + "." for part in parts if part)
    return " ".join(closed)


def _draw_rows(
    train: Triples, valid: Triples, fraction: float, split_seed: int
) -> dict[str, np.ndarray]:
    # Imported here: runtime brings torch, which nobody who only reads files should wait for.
    from relgnn.runtime import rng

    generator = rng("fraction", split_seed)
    kept = {}
    for split, triples, least in (("train", train, 1), ("valid", valid, 0)):
        order = generator.permutation(len(triples))
        by_relation = order[np.argsort(triples[order, 1], kind="stable")]
        counts = np.bincount(triples[:, 1], minlength=1)
        quota = np.maximum(np.rint(fraction * counts).astype(np.int64), least)
        starts = np.cumsum(counts) - counts
        place = np.arange(len(triples)) - np.repeat(starts, counts)
        kept[split] = by_relation[place < np.repeat(quota, counts)]
    return kept


def is_in(triples: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of triples [C, 3] are among known [K, 3], bool [C]."""
    keys = {tuple(t) for t in known.tolist()}
    return np.array([tuple(t) in keys for t in triples.tolist()], dtype=bool)
