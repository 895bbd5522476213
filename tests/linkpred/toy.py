"""A small world of people and towns whose pages say who was born, lives and knows whom."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from relgnn.config import Config, make_config
from relgnn.data import KnowledgeGraph
from relgnn.data.graph import Text
from relgnn.data.mentions import Span
from relgnn.linkpred.supervision import Supervision
from relgnn.runtime import Runtime, rng
from relgnn.text.encoder import TextEncoder

PEOPLE = tuple(
    "Abra Bodil Cyrus Dunja Eskil Fyodor Goran Hilma Ingvi Jorun Kalle Lumir Mirek Nadja Oskar "
    "Petra Quirin Rasmus Sunniva Tibor".split()
)
TOWNS = tuple("Bremvik Cortuna Hastrup Lindhove Morzine Zagolt".split())
NAMES = (*PEOPLE, *TOWNS)
BORN, LIVES, KNOWS = range(3)
RELATIONS = ("born", "lives", "knows")
FEATURE, CORPUS, NONE = range(3)
RUNTIME = Runtime(0, torch.device("cpu"), "fp32", "fp32", 1, True)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class HashEncoder(TextEncoder):
    """Bags of words: each word a random direction, fixed by its letters."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.dim = 16

    def encode_spans(
        self,
        requests: Sequence[tuple[str, Sequence[Span]]],
        description: str = "encoding sentences",
    ) -> tuple[Tensor, Tensor]:
        self.asked += [text for text, _ in requests]
        parts = [text[start:end] for text, spans in requests for start, end in spans]
        return self._vectors([text for text, _ in requests]), self._vectors(parts)

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        rows = torch.zeros(len(texts), self.dim)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
                rows[row] += torch.from_numpy(np.random.default_rng(seed).normal(size=self.dim))
        return functional.normalize(rows, dim=1)


def toy_facts() -> tuple[np.ndarray, np.ndarray]:
    """Triples [50, 3] and the stratum of each: everybody's two towns, and ten acquaintances."""
    generator = rng("toy facts", 0)
    people, first_town = len(PEOPLE), len(PEOPLE)
    rows = []
    for person in range(people):
        born, lives = generator.choice(len(TOWNS), 2, replace=False) + first_town
        rows += [(person, BORN, born, FEATURE), (person, LIVES, lives, CORPUS)]
    for person in range(0, people, 2):
        rows.append((person, KNOWS, person + 1, NONE if person > 12 else CORPUS))
    table = np.array(rows)[generator.permutation(len(rows))]
    return table[:, :3], table[:, 3]


def toy_texts(facts: np.ndarray, strata: np.ndarray) -> tuple[Text, ...]:
    """A page for each entity: the birth first, then what else is true."""
    told: dict[int, list[str]] = {entity: [] for entity in range(len(NAMES))}
    for (h, r, t), stratum in sorted(zip(facts.tolist(), strata.tolist(), strict=True)):
        if r == BORN:
            told[h].insert(0, f"{NAMES[h]} was born in {NAMES[t]}.")
        elif r == LIVES:
            told[h].append(f"Nowadays the painter lives in {NAMES[t]}.")
            told[t].append(f"The painter {NAMES[h]} lives there.")
        elif stratum != NONE:
            told[h].append(f"A good friend is {NAMES[t]}.")
    return tuple(
        Text(f"page-{entity}", " ".join(sentences), entity)
        for entity, sentences in told.items()
        if sentences
    )


def toy_graph(train: np.ndarray | None = None) -> KnowledgeGraph:
    """Half of the facts are given; `train` replaces them."""
    facts, strata = toy_facts()
    cuts = {"train": slice(0, 26), "valid": slice(26, 32), "hidden": slice(32, 40)}
    cuts["test"] = slice(40, None)
    codes = {split: strata[cut] for split, cut in cuts.items()}
    if train is not None:
        codes["train"] = np.zeros(len(train))
    return KnowledgeGraph(
        name="toy", entities=NAMES, relations=RELATIONS, entity_names=NAMES,
        entity_descriptions=("",) * len(NAMES),
        relation_names=("born in", "lives in", "friend of"),
        relation_descriptions=("place of birth", "", ""),
        train=facts[cuts["train"]] if train is None else train, valid=facts[cuts["valid"]],
        test=facts[cuts["test"]], hidden=facts[cuts["hidden"]],
        texts=toy_texts(facts, strata), strata=codes,
        types=(("person",),) * len(PEOPLE) + (("town",),) * len(TOWNS),
    )  # fmt: skip


TINY: dict[str, Any] = {
    "data": {"name": "toy"},
    "gnn": {"bases": 2, "dropout": 0.0},
    "decoder": {"kind": "distmult", "dim": 8, "dropout": 0.0},
    "train": {"epochs": 4, "batch_size": 32, "lr": 0.02, "patience": 2, "eval_every": 1},
    "runtime": {"device": "cpu"},
}


def toy_config(*overrides: str) -> Config:
    """A configuration that trains in a moment."""
    return make_config(TINY, overrides)


def taught(graph: KnowledgeGraph, false_share: float = 0.4) -> Supervision:
    """Given triples, and accepted ones of which a share, the last, is false; the text knows."""
    true = np.concatenate([graph.hidden, graph.test])
    count = round(len(true) * false_share / (1 - false_share))
    known = {tuple(t) for t in toy_facts()[0].tolist()}
    draws = rng("false triples", 0).integers(0, [len(NAMES), len(RELATIONS), len(NAMES)], (200, 3))
    false = np.array([t for t in draws.tolist() if tuple(t) not in known][:count]).reshape(-1, 3)
    gold = Supervision.gold(graph.train)
    pseudo = torch.from_numpy(np.concatenate([true, false]))
    size, more = len(gold.targets), len(pseudo)
    return Supervision(
        torch.cat([gold.targets, pseudo]), torch.ones(size + more),
        torch.cat([gold.context, pseudo]), torch.ones(size + more),
        pseudo=torch.arange(size + more) >= size,
        p_text=torch.cat([
            torch.full((size,), torch.nan), torch.full((len(true),), 0.9),
            torch.full((count,), 0.1),
        ]),
    )  # fmt: skip
