"""A trained predictor after its messages: the vectors and the decoder that every question needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from relgnn.config.graph import DecoderConfig
from relgnn.errors import InputError
from relgnn.gnn.decoders import Beside, ComplEx, Decoder, make_decoder
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.model import LinkPredictor
from relgnn.training import load_tensors, save_tensors

QUERY_BATCH = 512
"""Queries whose scores over all entities are in memory at once."""

PART = "decoder."


@dataclass(frozen=True)
class Scorer:
    """Answers questions without passing a message.

    Args:
        decoder: scores; in evaluation mode.
        nodes: [N, d], vectors of entities.
        relations: [2R, d_r], of relations and then of their inverses.
    """

    decoder: Decoder
    nodes: Tensor
    relations: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, model: LinkPredictor, graph: MessageGraph | None) -> Scorer:
        """Pass the messages of `graph` once; the model is in evaluation mode from then on."""
        model.eval()
        return cls(model.decoder, *model.encode(graph))

    @property
    def num_relations(self) -> int:
        """R, inverses not counted."""
        return len(self.relations) // 2

    def score_tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores [B, N] of every tail for heads [B] and relations [B] in [0, 2R)."""
        heads, relations = heads.to(self.nodes.device), relations.to(self.nodes.device)
        return self.decoder.score_all(self.nodes[heads], self.relations[relations], self.nodes)

    def log_probabilities(self, triples: np.ndarray) -> np.ndarray:
        """log P(t | h, r) and log P(h | r, t) of triples [C, 3], as [C, 2], over all entities."""
        head, relation, tail = torch.from_numpy(np.array(triples)).unbind(1)
        inverse = relation + self.num_relations
        columns = [
            self.log_answers(head, relation, tail),
            self.log_answers(tail, inverse, head),
        ]
        return torch.stack(columns, 1).double().numpy()

    @torch.inference_mode()
    def log_answers(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """log P(tail | head, relation), float32 [C] on the CPU, for relations in [0, 2R).

        Each query is scored once, however many of its answers are asked for.
        """
        size = len(self.relations)
        keys, which = torch.unique(head * size + relation, return_inverse=True)
        queries = torch.stack([keys // size, keys % size], 1)
        order = which.argsort(stable=True)
        starts = torch.arange(0, len(queries) + QUERY_BATCH, QUERY_BATCH)
        bounds = torch.searchsorted(which[order], starts)
        out = torch.empty(len(head))
        for start, low, high in zip(
            range(0, len(queries), QUERY_BATCH), bounds[:-1], bounds[1:], strict=False
        ):
            part = queries[start : start + QUERY_BATCH]
            scores = self.score_tails(part[:, 0], part[:, 1]).log_softmax(1)
            rows = order[low:high]
            place = (which[rows] - start).to(scores.device)
            out[rows] = scores[place, tail[rows].to(scores.device)].cpu()
        return out

    @torch.inference_mode()
    def top_answers(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The likeliest answers of queries (head, relation) int64 [Q, 2], relation in [0, 2R).

        Returns:
            their numbers int64 [Q, k] and log P float32 [Q, k], on the CPU, the likeliest first; k
            is `count`, or N where that is less.
        """
        count = min(count, len(self.nodes))
        # all in one place: results kept batch by batch would lie in the room that the scores of the
        # batch before left, and memory would grow by that room every time
        answers = torch.empty(len(queries), count, dtype=torch.int64)
        sure = torch.empty(len(queries), count)
        for start in range(0, len(queries), QUERY_BATCH):
            part = queries[start : start + QUERY_BATCH]
            scores = self.score_tails(part[:, 0], part[:, 1])
            best = scores.topk(count, dim=1)
            answers[start : start + len(part)] = best.indices
            sure[start : start + len(part)] = best.values - scores.logsumexp(1, keepdim=True)
        return answers, sure

    def save(self, path: Path) -> None:
        """Write it to one file, atomically, for `mapped`.

        Raises:
            MachineError: the file cannot be written; an older one stays as it was.
        """
        tensors = {PART + name: value for name, value in self.decoder.state_dict().items()}
        tensors |= {"nodes": self.nodes, "relations": self.relations}
        beside = self.decoder.second.dim if isinstance(self.decoder, Beside) else None
        save_tensors(path, tensors, {"memory": beside})

    @classmethod
    def mapped(cls, path: Path, config: DecoderConfig) -> Scorer:
        """What `save` wrote, mapped into memory and not read: processes share one copy of it.

        Args:
            path: the file.
            config: the decoder's section of the run's configuration.

        Raises:
            InputError: the file is absent or damaged, or does not fit the configuration.
        """
        tensors, about = load_tensors(path)
        decoder = make_decoder(config.kind, config.dim)
        if about.get("memory"):
            decoder = Beside(decoder, ComplEx(about["memory"]))
        own = {k.removeprefix(PART): v for k, v in tensors.items() if k.startswith(PART)}
        try:
            decoder.load_state_dict(own, assign=True)
            nodes, relations = tensors["nodes"], tensors["relations"]
        except (RuntimeError, KeyError):
            raise InputError(
                f"{path}: does not hold the vectors of this run; delete it: it is made again"
            ) from None
        return cls(decoder.eval(), nodes, relations)
