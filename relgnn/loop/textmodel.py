"""The text model that a run leaves behind: it reads sentences that the run has never seen."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from relgnn.config import LoopConfig
from relgnn.data import KnowledgeGraph, Sentence, Text, is_in, sentences_of
from relgnn.data.mentions import Span
from relgnn.data.sentences import split_sentences
from relgnn.errors import InputError
from relgnn.linkpred.scorer import Scorer
from relgnn.loop.candidates import Candidates, candidates_from_pairs, votes_of
from relgnn.loop.labelled import pair_labels, rows_to_read
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.views import probability
from relgnn.loop.world import World
from relgnn.rules.judge import RuleJudge
from relgnn.runtime import Runtime
from relgnn.text.encoder import TextEncoder
from relgnn.text.evidence import (
    Evidence,
    PairFeatures,
    encode_corpus,
    encode_entities,
    find_evidence,
    pool_evidence,
)
from relgnn.text.extractor import RelationExtractor, extract_rows, load_extractor
from relgnn.text.layers import SplitEncoder
from relgnn.text.linking import EXACT, MentionLinker
from relgnn.text.marking import occurrences
from relgnn.text.pairs import (
    PairLabels,
    PairModel,
    PairSettings,
    fit_pairs,
    load_pairs,
    score_pairs,
)
from relgnn.text.pooling import pool_rows
from relgnn.training import atomic_file, load_json, save_json

FOLDER = "extractor"
FUSION = "fusion.json"
CANDIDATES = 2000
"""Triples of a text that the graph is asked about, likeliest first."""


@dataclass(frozen=True)
class Extraction:
    """A triple that a text states; ids are the data set's own.

    Args:
        head, relation, tail: ids.
        head_name, relation_name, tail_name: as people call them.
        probability: of being true, by both views.
        votes: each view's own probability: `text`, `graph`, and `rules` where they judge.
        known: whether the triple was given for training.
        sentence: characters of the text, [start, end).
        head_span, tail_span: characters of the text that name them, None where nothing does.
    """

    head: str
    relation: str
    tail: str
    head_name: str
    relation_name: str
    tail_name: str
    probability: float
    votes: dict[str, float]
    known: bool
    sentence: Span
    head_span: Span | None
    tail_span: Span | None


def fit_text_model(world: World, features: PairFeatures, pseudo: Pseudo) -> PairModel:
    """A pair model that has seen every label: for new text nothing has to be held out.

    Args:
        world: graph and configuration.
        features: the round's pairs.
        pseudo: accepted in the round before, as the round's cross-fitted models knew them.
    """
    assert world.config.loop is not None
    return fit_pairs(
        features,
        pair_labels(world.graph, features, pseudo),
        np.arange(len(features)),
        world.graph.num_relations,
        PairSettings(unlabelled_weight=world.config.loop.unlabelled_weight),
        world.runtime.seed,
    )


def publish_text_model(folder: Path, number: int, folds: int) -> None:
    """Put a round's text model and calibrators where an opened run looks for them: `extractor/`.

    Args:
        folder: of the run.
        number: the round, from 1.
        folds: that its calibrators were fitted over.
    """
    source = folder / "rounds" / str(number)
    for file in sorted((source / FOLDER).iterdir()):
        with atomic_file(folder / FOLDER / file.name) as beside:
            shutil.copyfile(file, beside)
    views = load_json(source / "calibration.json")
    save_json(folder / FOLDER / FUSION, {"round": number, "folds": folds, "views": views})


class TextModel:
    """Reads a text with the pair model and the extractor and weighs it with the graph.

    Args:
        folder: of the run.
        runtime: where and how the extractor reads.
        loop: the run's, whose text the model was trained on; None for a run without.

    Raises:
        InputError: the run has no text model.
    """

    def __init__(self, folder: Path, runtime: Runtime, loop: LoopConfig | None) -> None:
        if loop is None or not (folder / FOLDER / FUSION).exists():
            raise InputError(
                f"{folder}: has no text model, because it was trained without a loop; train one "
                "whose configuration has a section loop"
            )
        self.loop, self.seed = loop, runtime.seed
        self._judge: RuleJudge | None = None  # mined when the first text is read
        self._entities: tuple[Tensor, Tensor] | None = None
        self._linker: MentionLinker | None = None
        self.pairs = load_pairs(folder / FOLDER)
        self.extractor: tuple[SplitEncoder, RelationExtractor] | None = None
        if (folder / FOLDER / "extractor.json").exists():
            dtype = runtime.dtype
            self.extractor = load_extractor(folder / FOLDER, device=runtime.device, dtype=dtype)
        fusion = load_json(folder / FOLDER / FUSION)
        self.views, self.folds = fusion["views"], fusion["folds"]

    def entities(self, graph: KnowledgeGraph, encoder: TextEncoder) -> tuple[Tensor, Tensor]:
        """See `encode_entities`; encoded when first asked for: texts come and go, they stay.

        Args:
            graph, encoder: the run's.
        """
        if self._entities is None:
            self._entities = encode_entities(graph, encoder)
        return self._entities

    def linker(self, graph: KnowledgeGraph) -> MentionLinker:
        """Finds the run's entities in texts; built when first asked for."""
        if self._linker is None:
            self._linker = MentionLinker(graph.entity_names, graph.aliases or None)
        return self._linker

    def read(
        self,
        text: str,
        graph: KnowledgeGraph,
        encoder: TextEncoder,
        scorer: Scorer,
        about: int | None = None,
    ) -> list[Extraction]:
        """Triples that a text states, surest first, whatever their probability.

        The graph's vote is that of the final model, not of one that was held out.

        Args:
            text: any text.
            graph: the run's.
            encoder: the run's language model.
            scorer: of the run's final graph model.
            about: the entity that the text is about, which a sentence need not name; by default
                the one that the first sentence names first.

        Raises:
            InputError: the text is empty.
        """
        linker = self.linker(graph)
        sentences = text_sentences(text, linker, about)
        evidence = find_evidence(graph, sentences, linker, coreference=self.loop.coreference)
        if not evidence.num_pairs:
            return []
        entities = self.entities(graph, encoder)
        vectors = encode_corpus(graph, sentences, evidence, encoder, entities)
        features = pool_evidence(sentences, evidence, vectors)
        every = np.arange(evidence.num_pairs)
        logits = score_pairs(self.pairs, features, every)
        found = candidates_from_pairs(
            features, logits, np.zeros(len(every), dtype=bool), np.zeros_like(every), CANDIDATES
        )
        by_graph = scorer.log_probabilities(found.triples)
        given = is_in(found.triples, graph.train)
        extra = np.column_stack([self._log_frequency(graph)[found.relation], found.implied])
        by_text = np.column_stack(
            [found.text, self._extractor_votes(graph, sentences, evidence, features, logits, found)]
        )
        said = {"text": by_text, "graph": by_graph}
        if self.loop.rules is not None:
            if self._judge is None:
                self._judge = RuleJudge.learn(graph.train, graph, self.loop.rules, self.seed)
            said["rules"] = self._judge.features(found.triples)
        views = {"fused": np.column_stack(list(said.values())), **said}
        votes = {
            view: probability(self.views[view], x, extra, found.relation, given)
            for view, x in views.items()
        }
        rows = _surest_rows(evidence)
        return [
            _extraction(graph, sentences, evidence, found, votes, given, rows, int(i))
            for i in np.argsort(-votes["fused"], kind="stable")
        ]

    def _extractor_votes(
        self,
        graph: KnowledgeGraph,
        sentences: Sequence[Sentence],
        evidence: Evidence,
        features: PairFeatures,
        logits: np.ndarray,
        found: Candidates,
    ) -> np.ndarray:
        """The extractor's logit [C] of each candidate; nan in a run without one."""
        if self.extractor is None:
            return np.full(len(found), np.nan)
        none = PairLabels.match(features, graph.train[:0], np.zeros(0), graph.num_relations)
        folds = np.zeros(evidence.num_pairs, dtype=np.int64)
        # A text is short: all its pairs are judged.
        rows, _ = rows_to_read(evidence, logits, none, folds, 2 * len(evidence.pair))
        try:
            said = extract_rows(*self.extractor, occurrences(graph, sentences, evidence, rows))
        finally:
            self.extractor[0].forget()  # it may be a stranger's text
        pooled = pool_rows(said, evidence.pair[rows], evidence.num_pairs, self.loop.pooling)
        return votes_of(pooled, features, found, graph.num_relations)

    def _log_frequency(self, graph: KnowledgeGraph) -> np.ndarray:
        """Log of how often each relation is given, [R], at the scale of the fusion's training.

        There a candidate's own fold was left out of the count.
        """
        count = np.bincount(graph.train[:, 1], minlength=graph.num_relations)
        return np.log1p(count * (self.folds - 1) / self.folds)


def text_sentences(text: str, linker: MentionLinker, about: int | None) -> list[Sentence]:
    """The sentences of a text as those of a page about `about`, or about whom it names first.

    Raises:
        InputError: there is none.
    """
    spans = split_sentences(text)
    if not spans:
        raise InputError("the text is empty; give at least one sentence")
    if about is None:
        opening = text[slice(*spans[0])]
        names = [m for m in linker.link(opening) if m.kind == EXACT and opening[m.start].isupper()]
        about = min(names, key=lambda m: (m.start, -m.end)).entity if names else None
    return list(sentences_of([Text("", text, about)]))


def _surest_rows(evidence: Evidence) -> dict[int, int]:
    """For each pair the row that names both ends most surely, the earliest of equals."""
    unnamed = 2 * (evidence.head_span[:, 0] < 0)
    if evidence.head_coreferent is not None:
        unnamed += evidence.head_coreferent
    order = np.lexsort((evidence.sentence, unnamed, evidence.kind))
    return {int(evidence.pair[row]): int(row) for row in order[::-1]}


def _extraction(
    graph: KnowledgeGraph,
    sentences: Sequence[Sentence],
    evidence: Evidence,
    found: Candidates,
    votes: dict[str, np.ndarray],
    given: np.ndarray,
    rows: dict[int, int],
    i: int,
) -> Extraction:
    head, relation, tail = int(found.head[i]), int(found.relation[i]), int(found.tail[i])
    row = rows[int(found.pair[i])]
    sentence = sentences[evidence.sentence[row]]

    def span(column: np.ndarray) -> Span | None:
        start, end = column[row].tolist()
        return None if start < 0 else (sentence.start + start, sentence.start + end)

    spans = span(evidence.head_span), span(evidence.tail_span)
    if head != evidence.head[row]:
        spans = spans[1], spans[0]
    return Extraction(
        graph.entities[head], graph.relations[relation], graph.entities[tail],
        graph.entity_names[head], graph.relation_names[relation], graph.entity_names[tail],
        float(votes["fused"][i]),
        {view: float(p[i]) for view, p in votes.items() if view != "fused"},
        bool(given[i]), (sentence.start, sentence.end), *spans,
    )  # fmt: skip
