"""Finished runs of link prediction of any kind, by the scores that they give all entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from relgnn.config import (
    BiEncoderConfig,
    Config,
    CrossEncoderConfig,
    EnsembleConfig,
    RerankConfig,
    RulesConfig,
    RunConfig,
    config_of_run,
)
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.linkpred.biencoder_run import open_biencoder
from relgnn.linkpred.candidates import BestCandidates, promoted
from relgnn.linkpred.crossencoder import CrossOrder, new_crossencoder
from relgnn.linkpred.ensemble import Mix
from relgnn.linkpred.evaluate import DenseScores, evaluate_scores
from relgnn.linkpred.reading import FLOORS, Reading
from relgnn.linkpred.rerank import Reranker, reranked
from relgnn.linkpred.rerank_features import CandidateFeatures
from relgnn.loop.opened import last_round, open_run, run_graph
from relgnn.loop.records import read_round
from relgnn.ranking.ranks import Ranks, ScoreTails
from relgnn.rules.judge import LEAST
from relgnn.rules.run import open_rules
from relgnn.runtime import Runtime
from relgnn.training import CHECKPOINT, load_module, load_tensors, restore_module
from relgnn.training.run_folder import require_finished


@dataclass(frozen=True)
class Scored:
    """What a finished run says of every entity.

    Args:
        graph: what it was trained on.
        dense: logits, or what stands for them: their differences weigh evidence.
        score_tails: the same for ranking, exact where scores are products.
        sha256: of its configuration.
        texts: vectors of entities' texts [N, d], of a bi-encoder.
        members: what an ensemble adds up, by name.
    """

    graph: KnowledgeGraph
    dense: DenseScores
    score_tails: ScoreTails
    sha256: str
    texts: Tensor | None = None
    members: Mapping[str, DenseScores] = field(default_factory=dict)

    def evaluate(self, split: str) -> tuple[dict[str, Ranks], dict[str, Any]]:
        """Ranks by side and metrics [stratum][side][kind] of a split.

        Raises:
            InputError: the split is empty.
        """
        self.graph.require(split)
        return evaluate_scores(self.score_tails, self.graph, split)

    def best(self, relation: int, node: int, backward: bool, k: int) -> list[tuple[int, float]]:
        """The k likeliest answers of a query, with log P(answer | query) among all entities.

        Args:
            relation: in [0, R).
            node: what is given.
            backward: ask for heads of `node`, not for tails.
            k: how many.
        """
        asked = relation + self.graph.num_relations * backward
        scores = self.dense(torch.tensor([node]), torch.tensor([asked]))[0]
        best = scores.double().log_softmax(0).topk(min(k, len(scores)))
        return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def find_member(folder: Path, name: str, config: RunConfig) -> Path:
    """The run folder that another run means by a row of its table, or by a path.

    A row's run is beside the other one, as `<row>-<percent given>-<seed>` (where
    `experiments.reproduce` puts it) or as `<row>`; a row of another table is `../<table>/<row>`.

    Args:
        folder: of the run that asks.
        name: a row, or a path.
        config: of the run that asks.

    Raises:
        InputError: there is no finished run.
    """
    given = f"{name}-{100 * config.data.fraction:g}-{config.runtime.seed}"
    tried = [folder.resolve().parent / given, folder.resolve().parent / name, Path(name)]
    for path in tried:
        if (path / "metrics.json").is_file():
            return path
    raise InputError(
        f"{name!r}: is no finished run (looked for {', '.join(map(str, tried))}); run it first, or "
        "give its folder"
    )


def open_member(folder: Path, name: str, config: RunConfig) -> Scored:
    """A finished run that another one builds on; see `find_member`.

    Raises:
        InputError: there is none, or it was trained on other data: another data set, fraction or
            draw.
    """
    return open_scored(_member_folder(folder, name, config))


def _member_folder(folder: Path, name: str, config: RunConfig) -> Path:
    path = find_member(folder, name, config)
    own = config_of_run(path)
    if own is None or own.data != config.data:
        raise InputError(
            f"{path}: was trained on other data than this run's ({config.data.model_dump()}); "
            "take a run of the same data set, fraction and split_seed"
        )
    return path


def read_by(folder: Path, name: str, config: RunConfig) -> dict[str, DenseScores]:
    """What a finished loop has read, as scores of candidate answers: by text alone, by all views.

    log odds above those of `FLOORS[0]`, see `TextReader.scores`, of the round that counts; of the
    first where the loop fell back on none.

    Args:
        folder: of the run that asks.
        name: a row, or a path; see `find_member`.
        config: of the run that asks.

    Raises:
        InputError: there is none, it read nothing, or it was trained on other data.
    """
    path = _member_folder(folder, name, config)
    require_finished(path)
    told = config_of_run(path)
    round_ = last_round(path)
    if not isinstance(told, Config) or round_ is None:
        raise InputError(f"{path}: has read no texts; give a loop's run")
    graph = run_graph(told, path)
    table = read_round(round_, graph)
    alike = Reading.alike(1.0, FLOORS[0], graph.num_relations)
    readers = table.readers(graph.num_entities, graph.num_relations)
    return {how: reader.scores(alike) for how, reader in readers.items()}


def open_scored(folder: Path) -> Scored:
    """A finished run of link prediction, of rules, or of what `AnyScoreConfig` lists.

    Raises:
        InputError: it is none of them, is not finished, or its data are gone.
    """
    config = config_of_run(folder)
    if isinstance(config, BiEncoderConfig):
        graph, scorer = open_biencoder(folder)
        vectors = scorer.vectors.float().cpu()
        return Scored(graph, scorer.dense, scorer, config.sha256(), vectors)
    if isinstance(config, RulesConfig):
        graph, predictor = open_rules(folder)

        def by_rules(heads: Tensor, relations: Tensor) -> Tensor:
            return predictor.scores(heads, relations).clamp(min=LEAST).log().float()

        return Scored(graph, by_rules, predictor.scores, config.sha256())
    if isinstance(config, CrossEncoderConfig | EnsembleConfig | RerankConfig):
        require_finished(folder)
    if isinstance(config, CrossEncoderConfig):
        return _open_crossencoder(folder, config)
    if isinstance(config, EnsembleConfig):
        return _open_ensemble(folder, config)
    if isinstance(config, RerankConfig):
        return _open_reranked(folder, config)
    if not isinstance(config, Config):
        raise InputError(f"{folder}: is no run of link prediction; give the folder of one")
    opened = open_run(folder)
    passed, asked = opened.scorer, opened.graph.num_relations
    # a loop's model has one relation more, without a type, so that its inverses begin one later
    beside = passed.num_relations - asked

    @torch.no_grad()
    def by_graph(heads: Tensor, relations: Tensor) -> Tensor:
        own = torch.where(relations < asked, relations, relations + beside)
        return passed.score_tails(heads, own).float().cpu()

    return Scored(opened.graph, by_graph, by_graph, config.sha256())


def candidate_features(
    config: RerankConfig, folder: Path, graph: KnowledgeGraph
) -> CandidateFeatures:
    """What a re-ranker sees of candidates: by the runs that it builds on.

    Args:
        config: of the re-ranker.
        folder: of its run.
        graph: whose triples are given.

    Raises:
        InputError: one of the runs is not there.
    """
    settings = config.rerank
    base = open_member(folder, settings.of, config)
    views = dict(base.members)
    texts = base.texts
    for name in settings.views:
        view = open_member(folder, name, config)
        views[name] = view.dense
        texts = view.texts if texts is None else texts
    read = {} if settings.read is None else read_by(folder, settings.read, config)
    return CandidateFeatures(graph, base.dense, views, texts, settings.top, read)


def _open_crossencoder(folder: Path, config: CrossEncoderConfig) -> Scored:
    """A cross-encoder; the run whose candidates it reads is still there."""
    base = open_member(folder, config.crossencoder.of, config)
    runtime = Runtime.from_config(config.runtime)
    model = new_crossencoder(config, runtime, base.graph)
    load_module(model, folder / CHECKPOINT)
    best = BestCandidates(base.graph, base.dense, config.crossencoder.top)
    scores = promoted(best, CrossOrder(model.eval(), runtime))
    return Scored(base.graph, scores, scores, config.sha256())


def _open_ensemble(folder: Path, config: EnsembleConfig) -> Scored:
    """An ensemble, whose members are still there."""
    members = [open_member(folder, name, config) for name in config.ensemble.of]
    tensors = load_tensors(folder / CHECKPOINT)[0]
    scores = Mix(tensors["weight"], tensors["scale"]).scores([one.dense for one in members])
    texts = next((one.texts for one in members if one.texts is not None), None)
    parts = {n: one.dense for n, one in zip(config.ensemble.of, members, strict=True)}
    return Scored(members[0].graph, scores, scores, config.sha256(), texts, parts)


def _open_reranked(folder: Path, config: RerankConfig) -> Scored:
    """A re-ranker; the runs that it builds on are still there."""
    graph = load_graph(config.data)
    features = candidate_features(config, folder, graph)
    tensors, about = load_tensors(folder / CHECKPOINT)
    model = None
    if about["hidden"]:
        model = Reranker(len(features.names), about["hidden"], config.rerank.dropout).eval()
        restore_module(model, tensors, folder / CHECKPOINT)
    scores = reranked(model, features)
    return Scored(graph, scores, scores, config.sha256())
