"""Two copies of a language model: one reads queries, the other one entities."""

from __future__ import annotations

import copy
import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config import BiEncoderConfig
from relgnn.config.biencoder import BiEncoderSettings
from relgnn.data import KnowledgeGraph
from relgnn.dropout import set_dropout
from relgnn.errors import InputError
from relgnn.linkpred.biencoder_texts import PackedRows, QueryTexts, mean_states
from relgnn.ranking.scores import Candidates, Products
from relgnn.rules.adjacency import Adjacency
from relgnn.runtime import Runtime
from relgnn.text.efficient import attach
from relgnn.text.encoder import load_model
from relgnn.text.packed import PackedNetwork, run_layers, send

CPU_ROWS, GPU_ROWS = 96, 2048
"""Texts that are read at once where nothing is trained."""
LARGEST_SCALE = 100.0
"""What cosines are multiplied with at most."""


class RowReader(nn.Module):
    """Means of the last hidden states over all tokens of rows.

    Args:
        network: a Hugging Face encoder in evaluation mode; is moved.
        texts: what rows are made of.
        device: where it runs.
        checkpointing: see `run_layers`.
    """

    def __init__(
        self, network: Any, texts: QueryTexts, device: torch.device, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.texts = texts
        self.packed = PackedNetwork(network, device, torch.float32, checkpointing)
        self.network = network

    def forward(self, rows: PackedRows) -> Tensor:
        """[B, d], float32."""
        ids = self.texts.parts.matrices(rows, self.packed.device)
        return mean_states(self.packed.tokens(ids), rows)


class Tower(RowReader):
    """Unit vectors of rows: their means, of length one."""

    def forward(self, rows: PackedRows) -> Tensor:
        """[B, d], float32, of length one."""
        return functional.normalize(super().forward(rows), dim=1)


class TopTower(nn.Module):
    """The same with the upper layers alone, over states of the frozen ones below.

    The frozen layers read each part of a row by itself, once; the upper ones see whole rows.

    Args:
        layers: the upper layers, of BERT's kind.
        states: what is below.
        device: where it runs.
        checkpointing: see `run_layers`.
    """

    def __init__(
        self,
        layers: nn.ModuleList,
        states: PartStates,
        device: torch.device,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.layers, self.lower = layers.to(device), states
        self.device, self.checkpointing = device, checkpointing

    def forward(self, rows: PackedRows) -> Tensor:
        """[B, d], float32, of length one."""
        states = self.lower.of(rows.place).to(self.device).float()
        found = run_layers(self.layers, states, rows.shapes, self.checkpointing)
        return functional.normalize(mean_states(found, rows), dim=1)


class PartStates:
    """States of frozen lower layers for every token of all parts, bfloat16 [S, d].

    They are kept on the run's device, where they take no more than a quarter of a GPU's free
    memory; else on the CPU.
    """

    def __init__(self, network: Any, texts: QueryTexts, runtime: Runtime) -> None:
        packed = PackedNetwork(network, runtime.device, runtime.dtype)
        parts = texts.parts
        shape = len(parts.ids), int(network.config.hidden_size)
        self.states = torch.empty(shape, dtype=torch.bfloat16, device=_room(shape, runtime.device))
        tokens = [own.tolist() for own in parts.ids.split(parts.offsets.diff().tolist())]
        for items, found in packed.read(tokens, batch_tokens=16384):
            place = parts.offsets[torch.from_numpy(items), None] + torch.arange(found.shape[1])
            self.states[place.to(self.states.device)] = found.to(self.states)

    def of(self, place: Tensor) -> Tensor:
        """States [T, d] of tokens int64 [T], which are on the CPU."""
        return self.states[send(place, self.states.device)]

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: it never changes."""
        return self


def _room(shape: tuple[int, int], device: torch.device) -> torch.device:
    """Where bfloat16 numbers of this shape are kept."""
    if device.type == "cuda" and 8 * math.prod(shape) < torch.cuda.mem_get_info(device)[0]:
        return device
    return torch.device("cpu")


class BiEncoder(nn.Module):
    """Scores of answers by how near their texts are to the query's.

        s(h, r, t) = cos(query(h, r), entity(t)) / τ

    Both encoders start from the same language model. (Wang et al., SimKGC: Simple Contrastive
    Knowledge Graph Completion with Pre-trained Language Models, ACL 2022.)

    Args:
        query: the tower that reads queries.
        entity: the tower that reads entities.
        texts: what they read.
        temperature: τ at first.
    """

    def __init__(
        self, query: nn.Module, entity: nn.Module, texts: QueryTexts, temperature: float
    ) -> None:
        super().__init__()
        self.query, self.entity, self.texts = query, entity, texts
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def scale(self) -> Tensor:
        """1 / τ."""
        return self.log_scale.exp()

    @torch.no_grad()
    def keep_scale(self) -> None:
        """Keep 1 / τ where a step has led it too far; beyond a clamp it would have no gradient."""
        self.log_scale.clamp_(max=math.log(LARGEST_SCALE))

    def queries(self, heads: Tensor, relations: Tensor, answers: Tensor | None = None) -> Tensor:
        """Vectors [B, d] of queries; see `QueryTexts.queries`."""
        found: Tensor = self.query(self.texts.queries(heads, relations, answers))
        return found

    def entities(self, nodes: Tensor) -> Tensor:
        """Vectors [B, d] of entities int64 [B]."""
        found: Tensor = self.entity(self.texts.entities(nodes))
        return found


class BiEncoderScorer:
    """Scores of all entities, which are read once, for `evaluate_ranks`.

    Args:
        model: in evaluation mode, and not trained on while this is used.
        runtime: precision of reading.
        near: which candidates are near a head; None for none.
        weight: added to their cosine.
    """

    def __init__(
        self, model: BiEncoder, runtime: Runtime, near: Neighbourhood | None, weight: float
    ) -> None:
        self.model, self.runtime, self.near, self.weight = model, runtime, near, weight
        self.rows = GPU_ROWS if runtime.device.type == "cuda" else CPU_ROWS
        nodes = torch.arange(model.texts.num_entities)
        nodes = nodes[torch.argsort(model.texts.lengths(nodes), stable=True)]
        with torch.inference_mode(), runtime.autocast():
            parts = [model.entities(part) for part in nodes.split(self.rows)]
        vectors = torch.empty(len(nodes), parts[0].shape[1], device=parts[0].device)
        vectors[nodes.to(vectors.device)] = torch.cat(parts)
        self.vectors = vectors
        self.candidates = Candidates(vectors)
        self._last: tuple[bytes, Tensor] = (b"", vectors[:0])

    def queries(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Vectors [B, d] of queries, times 1 / τ.

        The last ones are kept: an ensemble and its re-ranker ask for the same again.
        """
        key = torch.cat([heads, relations]).numpy().tobytes()
        if key != self._last[0]:
            rows = list(zip(heads.split(self.rows), relations.split(self.rows), strict=True))
            with torch.inference_mode(), self.runtime.autocast():
                found = torch.cat([self.model.queries(*part) for part in rows])
            self._last = key, found * self.model.scale.detach()
        return self._last[1]

    def __call__(self, heads: Tensor, relations: Tensor) -> Tensor | Products:
        """Scores of all entities for heads [B] and relations [B] in [0, 2R)."""
        queries = self.queries(heads, relations)
        if self.near is None:
            return Products(queries, self.candidates)
        near = self.near(heads).to(queries.device)
        scores: Tensor = queries @ self.vectors.T
        return scores + near * (self.weight * self.model.scale.detach())

    def dense(self, heads: Tensor, relations: Tensor) -> Tensor:
        """The same as a tensor [B, N] on the CPU."""
        found = self(heads, relations)
        whole = found if isinstance(found, Tensor) else found.columns(slice(0, len(self.vectors)))
        return whole.float().cpu()


class Neighbourhood:
    """Which entities some given triples lead to (SimKGC's neighbourhood re-ranking, its k-hop set).

    Args:
        graph: its given triples.
        hops: triples between two entities at most.
    """

    def __init__(self, graph: KnowledgeGraph, hops: int) -> None:
        linked = Adjacency(graph.train, graph.num_entities, graph.num_relations)
        self.linked, self.hops = linked.every.astype(bool).astype("float32"), hops

    def __call__(self, heads: Tensor) -> Tensor:
        """float [B, N], 1 where a candidate is near; a head itself is not."""
        rows = heads.numpy()
        near = step = self.linked[rows]
        for _ in range(self.hops - 1):
            step = step @ self.linked
            step.data[:] = 1
            near = near + step
        dense = torch.from_numpy(near.toarray() > 0).float()
        dense[torch.arange(len(rows)), heads] = 0
        return dense


def new_biencoder(config: BiEncoderConfig, runtime: Runtime, graph: KnowledgeGraph) -> BiEncoder:
    """An untuned bi-encoder on the run's device.

    Raises:
        InputError: the language model cannot be loaded, or be cut at the layer that is asked for.
    """
    text, settings = config.text, config.biencoder
    network, tokenizer = load_model(text.model)
    texts = QueryTexts(graph, tokenizer, text.max_tokens, text.neighbours)
    set_dropout(network, settings.dropout)
    query: nn.Module
    entity: nn.Module
    if settings.layers is not None:
        query, entity = _top_towers(network, texts, runtime, settings, text.model)
    else:
        towers = []
        with torch.random.fork_rng(devices=[]):
            # the same draws for both: they start as one
            for own in (network, copy.deepcopy(network)):
                torch.manual_seed(runtime.torch_rng("bi-encoder").initial_seed())
                if settings.efficient is not None:
                    own = attach(own, settings.efficient, ()).eval()
                towers.append(Tower(own, texts, runtime.device, settings.checkpointing))
        query, entity = towers
    return BiEncoder(query, entity, texts, settings.temperature).to(runtime.device)


def _top_towers(
    network: Any, texts: QueryTexts, runtime: Runtime, settings: BiEncoderSettings, name: str
) -> tuple[TopTower, TopTower]:
    layers, again = settings.layers or 0, settings.checkpointing
    if not PackedNetwork(network, runtime.device, torch.float32).layered:
        raise InputError(
            f"biencoder.layers: {name!r} cannot be run layer by layer; set it to null, or take a "
            "model of BERT's kind"
        )
    stack = network.encoder.layer
    if layers >= len(stack):
        raise InputError(
            f"biencoder.layers is {layers}: {name!r} has {len(stack)} layers; set it from 1 to "
            f"{len(stack) - 1}, or to null for all"
        )
    top = copy.deepcopy(stack[-layers:])
    network.encoder.layer = stack[:-layers]
    states = PartStates(network, texts, runtime)
    first, second = (
        TopTower(own, states, runtime.device, again) for own in (top, copy.deepcopy(top))
    )
    return first, second
