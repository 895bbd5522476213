"""A run that trains on one graph and is tested on another, whose entities it never saw."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.config import InductiveConfig
from relgnn.data import KnowledgeGraph
from relgnn.data.folder import read_folder
from relgnn.data.registry import load, load_graph
from relgnn.errors import InputError
from relgnn.gnn.backends import set_backend
from relgnn.gnn.inductive import QueryEncoder
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.inductive import (
    QUERIES,
    QueryRanker,
    QueryTask,
    Texts,
    budget_of,
    message_graph,
)
from relgnn.linkpred.pagerank import PageRank
from relgnn.ranking.metrics import metrics_by_stratum, write_ranks
from relgnn.ranking.ranks import FilterIndex, Ranks, ScoreTails, concatenate, evaluate_ranks
from relgnn.ranking.sampled import HITS_10_OF_50, sampled_hits
from relgnn.ranking.strata import UNSEEN_RELATION, stratum_masks
from relgnn.runtime import Runtime, cache_home
from relgnn.text.encoder import TextEncoder
from relgnn.training import (
    CHECKPOINT,
    Keeping,
    TrainSettings,
    load_module,
    module_tensors,
    save_tensors,
)
from relgnn.training.run_folder import carry_out, finished_config, require_same_data

UNSEEN = "_ind"

Rankers = Callable[[KnowledgeGraph], ScoreTails]
"""From a graph, whose given triples carry the messages, to the scores of its nodes."""

Reader = Callable[[KnowledgeGraph], Texts]
"""From a graph to the encodings of its texts that are read."""


@dataclass(frozen=True)
class InductiveData:
    """The graph to train on, and the one with other entities and the same relation ids."""

    trained: KnowledgeGraph
    unseen: KnowledgeGraph

    @property
    def name(self) -> str:
        """Of the graph to train on."""
        return self.trained.name

    @property
    def checksum(self) -> str:
        """sha256 of those of both graphs."""
        both = self.trained.checksum + self.unseen.checksum
        return hashlib.sha256(both.encode()).hexdigest()

    def of(self, split: str) -> KnowledgeGraph:
        """Where a split is asked: valid of the training graph, test of the unseen one."""
        return self.trained if split == "valid" else self.unseen


def run_inductive(config: InductiveConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Train on a graph, select on its valid triples, read the other graph's test triples once.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with an interrupted run.

    Returns:
        The content of metrics.json; besides metrics of filtered ranks it has
        `[split]["all"]["both"]["pessimistic"]["hits@10_of_50"]`, see `_evaluate`. PageRank, for
        which nothing is chosen, has no valid.

    Raises:
        InputError: the folder holds a run already, or data are not as they should be.
    """

    def work(data: InductiveData, runtime: Runtime) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        if config.inductive.method == "pagerank":
            rankers: Rankers = _pagerank(config)
        else:
            read = _reader(config, runtime)
            model = new_encoder(config, runtime, data.trained, read(data.trained))
            metrics["epoch"] = _fit(config, runtime, data, model, read, folder, resume)
            save_tensors(folder / CHECKPOINT, module_tensors(model))
            rankers = _paths(config, runtime, model, read)
            metrics["valid"] = _evaluate(rankers, data, "valid")[1]
        ranks, metrics["test"] = _evaluate(rankers, data, "test")
        graph = data.unseen
        write_ranks(
            folder / "ranks" / "final.tsv", ranks, graph.test, graph.entities, graph.relations
        )
        return metrics | {"rows": {"final": metrics["test"]}}

    set_backend(config.runtime.backend)
    return carry_out(config, folder, resume, load_inductive, work)


def evaluate_inductive(
    folder: Path, split: str
) -> tuple[KnowledgeGraph, dict[str, Ranks], dict[str, Any]]:
    """The graph that a split is asked of, and ranks and metrics again, from the checkpoint.

    Raises:
        InputError: it is no finished run of this kind.
    """
    config = finished_config(folder, InductiveConfig, "inductive run")
    set_backend(config.runtime.backend)
    data = load_inductive(config)
    require_same_data(folder, data)
    rankers = _pagerank(config)
    if config.inductive.method != "pagerank":
        runtime = Runtime.from_config(config.runtime)
        read = _reader(config, runtime)
        model = new_encoder(config, runtime, data.trained, read(data.trained))
        load_module(model, folder / CHECKPOINT)
        rankers = _paths(config, runtime, model.eval(), read)
    return data.of(split), *_evaluate(rankers, data, split)


def load_inductive(config: InductiveConfig) -> InductiveData:
    """Both graphs, the second with the first one's relation ids.

    Raises:
        InputError: one is nowhere or broken, has no triples where they are needed, or the second
            has a relation that the first one lacks and that is not known by its text.
    """
    trained, path = load_graph(config.data), config.data.path
    if config.inductive.asked is None and path is not None:
        unseen = read_folder(Path(f"{path}{UNSEEN}"))
    else:
        unseen = load(config.inductive.asked or f"{config.data.name}{UNSEEN}")
    for graph, split in ((trained, "train"), (trained, "valid"), (unseen, "test")):
        if not len(getattr(graph, split)):
            raise InputError(
                f"{graph.name}: has no {split} triples; an inductive run trains and selects on "
                f"the graph of `data` and is tested on that of `inductive.asked`, or the one with "
                f"{UNSEEN} at its end"
            )
    by_text = config.text is not None and config.text.relations
    blind = config.inductive.method == "pagerank"
    return InductiveData(trained, with_relations_of(trained, unseen, by_text or blind))


def with_relations_of(
    trained: KnowledgeGraph, unseen: KnowledgeGraph, keep: bool = False
) -> KnowledgeGraph:
    """A graph whose triples have the relation ids of another.

    Args:
        trained: has R relations.
        unseen: the graph that is renumbered.
        keep: relations that `trained` lacks stay, with ids from R.

    Raises:
        InputError: it has a relation that the other lacks, and it is not kept.
    """
    number = {relation: place for place, relation in enumerate(trained.relations)}
    lacking = [at for at, relation in enumerate(unseen.relations) if relation not in number]
    if lacking and not keep:
        raise InputError(
            f"{unseen.name}: relation {unseen.relations[lacking[0]]!r} is not in {trained.name}, "
            "and only relations that were trained on can be asked; leave its triples out, or set "
            "text.relations=true"
        )
    number |= {unseen.relations[at]: len(number) + i for i, at in enumerate(lacking)}

    def extended(own: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
        return own + tuple(others[at] for at in lacking)

    place = np.array([number[relation] for relation in unseen.relations], dtype=np.int64)

    def renumbered(triples: np.ndarray) -> np.ndarray:
        return np.stack([triples[:, 0], place[triples[:, 1]], triples[:, 2]], 1)

    return replace(
        unseen,
        relations=extended(trained.relations, unseen.relations),
        relation_names=extended(trained.relation_names, unseen.relation_names),
        relation_descriptions=extended(trained.relation_descriptions, unseen.relation_descriptions),
        negatives={},
        train=renumbered(unseen.train),
        valid=renumbered(unseen.valid),
        test=renumbered(unseen.test),
    )


def new_encoder(
    config: InductiveConfig, runtime: Runtime, graph: KnowledgeGraph, texts: Texts
) -> QueryEncoder:
    """An untrained encoder for a graph's relations and texts, on the run's device."""
    settings = config.inductive
    widths = [0 if text is None else text.shape[1] for text in (texts.relations, texts.nodes)]
    with runtime.drawn_from("query encoder"):
        model = QueryEncoder(settings.dim, 2 * graph.num_relations, settings.layers, *widths)
    return model.to(runtime.device)


def _fit(
    config: InductiveConfig,
    runtime: Runtime,
    data: InductiveData,
    model: QueryEncoder,
    read: Reader,
    folder: Path,
    resume: bool,
) -> int:
    """Train in place; the epoch that valid chose."""
    settings = config.inductive
    keeping = Keeping.of_run(folder, resume)
    task = QueryTask(model, data.trained, settings, read(data.trained))
    return keeping.train(task, TrainSettings.of(settings, "mrr"), runtime).best_epoch


def _reader(config: InductiveConfig, runtime: Runtime) -> Reader:
    """What reads a graph's texts, each graph's once."""
    text = config.text
    if text is None:
        return lambda graph: Texts()
    encoder = TextEncoder(
        text.model, max_tokens=text.max_tokens, device=runtime.device, dtype=runtime.dtype,
        cache=cache_home(),
    )  # fmt: skip

    @cache
    def read(graph: KnowledgeGraph) -> Texts:
        found = encode_features(graph, encoder, "node" if text.nodes else "none")
        nodes = None if found.nodes is None else found.nodes.to(runtime.device)
        return Texts(found.relations.to(runtime.device) if text.relations else None, nodes)

    return read


def _paths(config: InductiveConfig, runtime: Runtime, model: QueryEncoder, read: Reader) -> Rankers:
    def on(graph: KnowledgeGraph) -> ScoreTails:
        messages = message_graph(graph).to(runtime.device)
        return QueryRanker(model, messages, budget_of(config.inductive), read(graph))

    return on


def _pagerank(config: InductiveConfig) -> Rankers:
    return lambda graph: PageRank(graph.train, graph.num_entities, config.inductive.restart)


def _evaluate(
    rankers: Rankers, data: InductiveData, split: str
) -> tuple[dict[str, Ranks], dict[str, Any]]:
    """Ranks and metrics [stratum][side][kind] of a split.

    The filter is what is known of the graph. Hits@10 among 50 drawn negatives, of both sides and
    pessimistic, are as published (see `sampled_hits`): there only what carries messages is
    filtered.
    """
    graph = data.of(split)
    score = rankers(graph)
    masks = stratum_masks(graph, split)
    masks[UNSEEN_RELATION] = getattr(graph, split)[:, 1] >= data.trained.num_relations

    def ranks(known: np.ndarray) -> dict[str, Ranks]:
        index = FilterIndex.build(known, graph.num_relations)
        return evaluate_ranks(score, getattr(graph, split), index, graph.num_relations, QUERIES)

    found = ranks(graph.filter_triples(split))
    metrics: dict[str, Any] = metrics_by_stratum(found, masks)
    as_published = concatenate(list(ranks(graph.train).values()))
    metrics["all"]["both"]["pessimistic"][HITS_10_OF_50] = sampled_hits(as_published)
    return found, metrics
