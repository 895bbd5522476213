"""A finished run opened for use: metrics again, scores, answers with reasons, triples of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from relgnn.config import Config, load_config
from relgnn.config.base import DataConfig
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import find, load_graph
from relgnn.errors import InputError
from relgnn.gnn.backends import set_backend
from relgnn.linkpred.evaluate import evaluate
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.scorer import Scorer
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.controls import supervise
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.records import read_round
from relgnn.loop.run import cache_folder
from relgnn.loop.textmodel import FOLDER, FUSION, Extraction, TextModel
from relgnn.loop.why import Explainer, Reason
from relgnn.loop.world import World, make_encoder
from relgnn.posterior.calibration import calibrator_from_json
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.ranks import Ranks
from relgnn.runtime import Runtime
from relgnn.training import CHECKPOINT, load_json, load_tensors
from relgnn.training.run_folder import require_finished, require_same_data

ONE_END = "give exactly one of head and tail: the other one is asked for"


@dataclass(frozen=True)
class Answer:
    """One answer to an open query.

    Args:
        entity, name: the data set's id, and what people call it.
        score: log P(answer | query) among all entities; what ranks are made of.
        probability: of the triple being true, None for a run without valid triples.
        known: whether the triple was given for training.
        why: reasons, the strongest first.
    """

    entity: str
    name: str
    score: float
    probability: float | None
    known: bool
    why: tuple[Reason, ...]


@dataclass(frozen=True)
class Question:
    """(known, relation, ?), or (?, relation, known) where it is asked backward; by number.

    Args:
        relation, known: numbers of the relation and of the end that is known.
        backward: heads are asked for.
        k: how many answers.
        why: with reasons.
    """

    relation: int
    known: int
    backward: bool = False
    k: int = 10
    why: bool = True

    def triple(self, answer: int) -> tuple[int, int, int]:
        """The triple that an answer makes."""
        ends = (answer, self.known) if self.backward else (self.known, answer)
        return ends[0], self.relation, ends[1]


@dataclass(frozen=True)
class Learned:
    """Pseudo triples that carry messages in a run's final model.

    Args:
        pseudo: accepted triples, and connected pairs as triples of relation R.
        edge_text: t_e of given and these triples, [G + A, d_t]; None where edges have none.
    """

    pseudo: Pseudo
    edge_text: torch.Tensor | None = None


@dataclass(frozen=True)
class OpenRun:
    """A run's final model with its surroundings.

    Args:
        world: configuration, runtime, graph and language model.
        calibrate: raw scores [C] -> probabilities [C], None for a run without valid triples.
        vectors: file that the scorer is mapped from; None where its messages are passed here.
    """

    world: World
    calibrate: Callable[[np.ndarray], np.ndarray] | None
    vectors: Path | None = None

    @property
    def graph(self) -> KnowledgeGraph:
        """The given graph."""
        return self.world.graph

    @property
    def folder(self) -> Path:
        """The run folder."""
        assert self.world.folder is not None
        return self.world.folder

    @cached_property
    def fitted(self) -> Fitted:
        """The final graph model and its context."""
        supervision = self.supervision(self.graph.train)
        return self.world.load(supervision, self.folder / CHECKPOINT)

    def supervision(self, given: np.ndarray, edge_text: torch.Tensor | None = None) -> Supervision:
        """What the final model passes messages over: given triples, and what it learned from text.

        Args:
            given: int64 [G, 3], those of the graph, or others in their place.
            edge_text: of `Learned`; the run's own where None.
        """
        loop = self.world.config.loop
        if loop is None:
            return Supervision.gold(given)
        own = self.learned.edge_text if edge_text is None else edge_text
        return supervise(given, self.learned.pseudo, loop, own)

    @cached_property
    def scorer(self) -> Scorer:
        """The final model after its messages."""
        if self.vectors is None:
            return Scorer.of(self.fitted.model, self.fitted.graph)
        return Scorer.mapped(self.vectors, self.world.config.decoder)

    @cached_property
    def text_model(self) -> TextModel:
        """What reads texts; an InputError for a run that was trained without a loop."""
        return TextModel(self.folder, self.world.runtime, self.world.config.loop)

    @cached_property
    def explainer(self) -> Explainer:
        """What finds reasons."""
        folder = self.round_folder
        # where the loop fell back, the model was never taught what the round accepted
        taught = load_json(self.folder / "metrics.json").get("round", 1) != 0
        return Explainer(self.graph, read_round(folder, self.graph) if folder else None, taught)

    @cached_property
    def round_folder(self) -> Path | None:
        """See `last_round`."""
        return last_round(self.folder)

    @cached_property
    def learned(self) -> Learned:
        """What the final model learned from text."""
        return _learned(self.world.config, self.folder)

    def evaluate(self, split: str, typed: bool = False) -> tuple[dict[str, Ranks], dict[str, Any]]:
        """Ranks by side and metrics [stratum][side][kind] of a split, "valid" or "test".

        Args:
            split: what to rank.
            typed: only among entities that the given triples, or types, allow in that place.

        Raises:
            InputError: the split is empty.
        """
        self.graph.require(split)
        admissible = None
        if typed:
            graph, relations = self.graph, self.fitted.model.num_relations
            types = graph.types if any(graph.types) else None
            admissible = Admissible.build(graph.train, graph.num_entities, relations, types)
        return evaluate(self.fitted, self.graph, split, admissible=admissible)

    def score(self, triples: np.ndarray) -> list[tuple[float, float | None]]:
        """log P(t | h, r) + log P(h | r, t) and the calibrated probability of triples [C, 3]."""
        if not len(triples):
            return []
        scores = self.scorer.log_probabilities(triples).sum(1)
        if self.calibrate is None:
            return [(float(score), None) for score in scores]
        probabilities = self.calibrate(scores)
        return [(float(s), float(p)) for s, p in zip(scores, probabilities, strict=True)]

    def predict(
        self, relation: int, *, head: int | None = None, tail: int | None = None, k: int = 10
    ) -> list[Answer]:
        """The k likeliest answers of (head, relation, ?) or (?, relation, tail), likeliest first.

        They come in the order of their ranks. A probability also weighs how well the known end
        answers the reverse question, so it need not fall from one answer to the next.

        Args:
            relation: number of the relation.
            head, tail: number of the known end; exactly one is given.
            k: how many.

        Raises:
            InputError: both ends are given or none, or a number is out of range.
        """
        known = head if head is not None else tail
        if known is None or (head is not None and tail is not None):
            raise InputError(ONE_END)
        return self.predict_all([Question(relation, known, head is None, k)])[0]

    @torch.inference_mode()
    def predict_all(self, queries: Sequence[Question]) -> list[list[Answer]]:
        """The answers of each query as `predict` gives them, all scored together."""
        for query in queries:
            self._require(query)
        known = torch.tensor([query.known for query in queries])
        asked = torch.tensor([q.relation + q.backward * self.scorer.num_relations for q in queries])
        scores = self.scorer.score_tails(known, asked).log_softmax(1)
        best = scores.topk(min(max(query.k for query in queries), scores.shape[1]))
        found = [
            (query, query.triple(entity), entity, score)
            for query, entities, values in zip(
                queries, best.indices.tolist(), best.values.tolist(), strict=True
            )
            for entity, score in zip(entities[: query.k], values, strict=False)
        ]
        sure = self.score(np.array([triple for _, triple, _, _ in found], dtype=np.int64))
        answers = iter(
            Answer(
                self.graph.entities[entity],
                self.graph.entity_label(entity),
                score,
                probability,
                self.explainer.given(*triple),
                tuple(self.explainer.reasons(*triple)) if query.why else (),
            )
            for (query, triple, entity, score), (_, probability) in zip(found, sure, strict=True)
        )
        size = scores.shape[1]
        return [[next(answers) for _ in range(min(query.k, size))] for query in queries]

    def _require(self, query: Question) -> None:
        for what, number, size in (
            ("relation", query.relation, self.graph.num_relations),
            ("entity", query.known, self.graph.num_entities),
        ):
            if not 0 <= number < size:
                raise InputError(
                    f"{what} {number}: expected a number from 0 to {size - 1}; "
                    f"`relgnn.data.lookup.find_{what}` finds that of a name"
                )

    def extract(self, text: str, about: int | None = None) -> list[Extraction]:
        """Triples that a text states, surest first; see `TextModel.read`."""
        return self.text_model.read(text, self.graph, self.world.encoder, self.scorer, about)


def open_run(folder: Path, vectors: Path | None = None) -> OpenRun:
    """Open a finished run.

    Args:
        folder: of the run.
        vectors: file that `Scorer.save` wrote for it: the checkpoint is not read then.

    Raises:
        InputError: it is no run folder, the run is not finished, or its data are gone or changed.
    """
    folder = Path(folder)
    config = run_config(folder)
    require_finished(folder)
    graph = run_graph(config, folder)
    runtime = Runtime.from_config(config.runtime)
    set_backend(config.runtime.backend)
    world = World(
        config, runtime, graph, make_encoder(config, runtime, cache_folder(config)), folder
    )
    calibration = load_json(folder / "calibration.json")
    calibrate = calibrator_from_json(calibration["calibrator"]) if calibration else None
    opened = OpenRun(world, calibrate, vectors)
    opened.scorer  # noqa: B018  what is damaged is told now
    return opened


def last_round(folder: Path) -> Path | None:
    """Of the round whose judgements a run's text model has; None in a run without a loop."""
    fusion = folder / FOLDER / FUSION
    return folder / "rounds" / str(load_json(fusion)["round"]) if fusion.exists() else None


def run_config(folder: Path) -> Config:
    """The configuration of a run of link prediction, finished or not.

    Raises:
        InputError: it is no run folder, or that of a run of another kind.
    """
    if not (folder / "config.yaml").is_file():
        raise InputError(
            f"{folder}: is no run folder (it has no config.yaml); give a folder that "
            "`relgnn run` wrote"
        )
    return load_config(folder / "config.yaml")


def run_data(config: Config, folder: Path) -> DataConfig:
    """Where a run's data are now.

    A folder of one's own that is not where it was, such as in a container, is looked for by its
    name where named data sets are.

    Raises:
        InputError: it is nowhere.
    """
    data, path = config.data, config.data.path
    if path is not None and not path.is_dir():
        moved = find(path.name)
        if moved is None:
            raise InputError(
                f"{folder}: its data were in {path}, which is no folder here; go to where the run "
                f"was started, set RELGNN_DATA to the folder that holds {path.name}, or correct "
                f"data.path in {folder / 'config.yaml'}"
            )
        data = data.model_copy(update={"path": moved})
    return data


def run_graph(config: Config, folder: Path) -> KnowledgeGraph:
    """The graph that a run was trained on, cut to its fraction; see `run_data`.

    Raises:
        InputError: the data are gone, or have changed since.
    """
    graph = load_graph(run_data(config, folder))
    require_same_data(folder, graph)
    return graph


def _learned(config: Config, folder: Path) -> Learned:
    if config.loop is None:
        return Learned(Pseudo.none())
    tensors = load_tensors(folder / "context.safetensors")[0]
    pseudo = Pseudo(tensors["triples"].numpy(), tensors["weight"].double().numpy())
    edge_text = tensors["edge_text"].float() if "edge_text" in tensors else None
    return Learned(pseudo, edge_text)
