"""A world of eight people and eight towns whose pages say who was born and who lives where."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.data.graph import Text
from relgnn.text.marking import Occurrence
from relgnn.text.means import Means

PEOPLE = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hedy")
TOWNS = ("Bonn", "Cork", "Lund", "Nice", "Oslo", "Pisa", "Riga", "York")
BORN, LIVES = 0, 1
VERBS = (("was", "born", "in"), ("lives", "now", "in"))
WORDS = (
    *PEOPLE, *TOWNS, *(word for verb in VERBS for word in verb), "begin", "end", "subject",
    "object", "and", "the", "painter", "saw", "far", "away", "from", "She", "He", ".", ":", ",",
)  # fmt: skip
# a Hugging Face model that runs in a millisecond
SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 96,
}  # fmt: skip


def toy_graph(
    texts: tuple[Text, ...], names: tuple[str, ...] = (*PEOPLE, *TOWNS)
) -> KnowledgeGraph:
    """Entities in the order of `names`, two relations, one triple to train on."""
    none = np.empty((0, 3), dtype=np.int64)
    return KnowledgeGraph(
        name="toy", entities=names, relations=("born", "lives"), entity_names=names,
        entity_descriptions=("",) * len(names), relation_names=("born in", "lives in"),
        relation_descriptions=("", ""), train=np.array([[0, BORN, len(names) - 1]]), valid=none,
        test=none, texts=texts,
    )  # fmt: skip


def toy_occurrences() -> tuple[list[Occurrence], np.ndarray, np.ndarray]:
    """Every person with every town and verb: the rows, their pairs and their relations.

    Rows 0, 2, 4 … say "born", rows 1, 3, 5 … "lives"; each is a pair of its own.
    """
    rows = []
    for person in PEOPLE:
        for town in TOWNS:
            for verb in VERBS:
                text = f"{person} {' '.join(verb)} {town} ."
                start = text.index(town)
                rows.append(
                    Occurrence(text, person, town, (0, len(person)), (start, start + len(town)))
                )
    pair = np.arange(len(rows))
    return rows, pair, pair % 2


def own_means(table: Tensor) -> Means:
    """Means of a table [G, d] of which each row is its own group."""
    return Means(table, torch.arange(len(table)), torch.arange(len(table) + 1))
