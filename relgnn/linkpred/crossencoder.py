"""A language model that reads a query and a candidate together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from relgnn.config import CrossEncoderConfig
from relgnn.config.biencoder import CrossEncoderSettings
from relgnn.data import KnowledgeGraph
from relgnn.dropout import set_dropout
from relgnn.linkpred.biencoder import CPU_ROWS, GPU_ROWS, RowReader
from relgnn.linkpred.biencoder_texts import QueryTexts
from relgnn.linkpred.candidates import (
    LOWEST,
    Best,
    BestCandidates,
    ask_both_ways,
    list_queries,
    ranks_among,
)
from relgnn.ranking.metrics import rank_metrics
from relgnn.ranking.ranks import FilterIndex
from relgnn.runtime import Runtime
from relgnn.text.encoder import load_model
from relgnn.training.task import NumberedTask

KEPT = 1 << 16
"""Queries whose candidates' scores are kept for the next time that they are asked."""


class CrossEncoder(nn.Module):
    """Scores of candidates by what a language model makes of query and candidate in one text.

        s(h, r, t) = w · mean over tokens of states("[CLS] h [SEP] r [SEP] t [SEP]")

    where h, r and t are texts as in `QueryTexts`. (Nogueira & Cho, Passage Re-ranking with BERT,
    2019; of links: Yao et al., KG-BERT, 2019.)

    Args:
        reader: of texts with answers behind their queries.
        width: d of the language model.
    """

    def __init__(self, reader: RowReader, width: int) -> None:
        super().__init__()
        self.reader, self.texts = reader, reader.texts
        self.weight = nn.Linear(width, 1, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Scores [B], float32, of rows of parts int64 [B, K], see `QueryTexts.pairs`."""
        means = self.reader(self.texts.parts.pack(rows))
        with torch.autocast(means.device.type, enabled=False):
            found: Tensor = self.weight(means)[:, 0]
        return found

    def rows(
        self, heads: Tensor, relations: Tensor, nodes: Tensor, answers: Tensor | None = None
    ) -> Tensor:
        """Rows of parts [q * K, ·] of queries [q] with each of their candidates [q, K].

        Answers [q] are given in training alone; see `QueryTexts.pairs`.
        """
        each = nodes.shape[1]
        told = None if answers is None else answers.repeat_interleave(each)
        return self.texts.pairs(
            heads.repeat_interleave(each), relations.repeat_interleave(each), nodes.flatten(), told
        )


class CrossOrder:
    """Scores [q, K] of the candidates of queries, on the CPU; those of a query are kept.

    Args:
        model: in evaluation mode, and not trained on while this is used.
        runtime: precision of reading.
    """

    def __init__(self, model: CrossEncoder, runtime: Runtime) -> None:
        self.model, self.runtime = model, runtime
        self.size = GPU_ROWS if runtime.device.type == "cuda" else CPU_ROWS
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __call__(self, best: Best) -> Tensor:
        keys = list(zip(best.heads.tolist(), best.relations.tolist(), strict=True))
        new = torch.tensor([i for i, key in enumerate(keys) if key not in self._kept])
        if len(new):
            if len(self._kept) + len(new) > KEPT:
                self._kept.clear()
                return self(best)
            read = self.read(best.heads[new], best.relations[new], best.nodes[new])
            self._kept |= {keys[i]: own for i, own in zip(new.tolist(), read, strict=True)}
        return torch.stack([self._kept[key] for key in keys])

    @torch.inference_mode()
    def read(self, heads: Tensor, relations: Tensor, nodes: Tensor) -> Tensor:
        """The same for queries [q] and their candidates [q, K], which are not kept."""
        rows = self.model.rows(heads, relations, nodes)
        # texts of one length are read together
        order = torch.argsort(self.model.texts.parts.lengths(rows), stable=True)
        scores = torch.empty(len(rows))
        for part in order.split(self.size):
            with self.runtime.autocast():
                scores[part] = self.model(rows[part]).cpu()
        return scores.view(nodes.shape)


class CrossEncoderTask(NumberedTask):
    """Tell the answer of a given triple from another predictor's best wrong candidates.

        loss = CE(softmax over the answer and n wrong candidates, the answer)

    The wrong ones are drawn evenly from the best candidates that are no given answers; a batch
    holds the numbers of queries, of which an epoch draws some. Valid selects: the answers' ranks
    among the candidates.

    Args:
        model: what is trained.
        graph: its given triples are learned from.
        best: whose candidates are read.
        settings: section `crossencoder`.
        runtime: precision of reading at valid, and which valid triples are drawn.
    """

    name = "cross-encoder"
    rate_keys = ("crossencoder.lr", "crossencoder.clip")

    def __init__(
        self,
        model: CrossEncoder,
        graph: KnowledgeGraph,
        best: BestCandidates,
        settings: CrossEncoderSettings,
        runtime: Runtime,
    ) -> None:
        self.encoder, self.settings, self.runtime, self.best = model, settings, runtime, best
        self.batch_size = settings.batch_size
        self.asked = ask_both_ways(torch.tensor(graph.train), graph.num_relations)
        drawn = runtime.rng("valid triples").permutation(len(graph.valid))
        known = FilterIndex.build(graph.filter_triples("valid"), graph.num_relations)
        valid = graph.valid[drawn[: settings.valid_triples]]
        self.selecting = list_queries(best, graph, valid, known) if len(valid) else None

    @property
    def model(self) -> nn.Module:
        return self.encoder

    @property
    def count(self) -> int:
        every = len(self.asked[0])
        return every if self.settings.queries is None else min(every, self.settings.queries)

    def batches(self, epoch: int, generator: torch.Generator) -> Any:
        drawn = torch.randperm(len(self.asked[0]), generator=generator)[: self.count]
        return iter(drawn.split(self.batch_size))

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        heads, relations, answers = (one[batch] for one in self.asked)
        found = list(self.best.parts(heads, relations))
        nodes = torch.cat([one.nodes for one in found])
        scores = torch.cat([one.scores for one in found])
        chance = torch.rand(nodes.shape, generator=generator, device=generator.device).cpu()
        wrong = scores > LOWEST
        place = chance.masked_fill(~wrong, -1).topk(min(self.settings.negatives, nodes.shape[1]))
        among = torch.cat([answers[:, None], nodes.gather(1, place.indices)], 1)
        own = self.encoder(self.encoder.rows(heads, relations, among, answers)).view(among.shape)
        given = torch.cat([torch.zeros(len(batch), 1, dtype=torch.bool), place.values < 0], 1)
        own = own.masked_fill(given.to(own.device), float("-inf"))
        return cross_entropy(own, torch.zeros(len(batch), dtype=torch.int64, device=own.device))

    def evaluate(self) -> dict[str, float]:
        if self.selecting is None:
            return {}
        asked = self.selecting
        order = CrossOrder(self.encoder, self.runtime)
        scores = order.read(asked.heads, asked.relations, asked.nodes)
        return rank_metrics(ranks_among(scores, asked))


def new_crossencoder(
    config: CrossEncoderConfig, runtime: Runtime, graph: KnowledgeGraph
) -> CrossEncoder:
    """An untuned cross-encoder on the run's device.

    Raises:
        InputError: the language model cannot be loaded.
    """
    text, settings = config.text, config.crossencoder
    network, tokenizer = load_model(text.model)
    texts = QueryTexts(graph, tokenizer, text.max_tokens, text.neighbours, pairs=True)
    set_dropout(network, settings.dropout)
    with runtime.drawn_from("cross-encoder"):
        reader = RowReader(network, texts, runtime.device, settings.checkpointing)
        model = CrossEncoder(reader, int(network.config.hidden_size))
    return model.to(runtime.device)
