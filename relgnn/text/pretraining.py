"""Self-supervised pre-training: hidden tokens, and whether a sentence follows another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config import PretrainingConfig
from relgnn.data.corpus import MarkedText
from relgnn.errors import InputError
from relgnn.runtime import Runtime, model_device
from relgnn.text.fitting import two_rates
from relgnn.text.masking import OUTSIDE, PassageBatch, PassageReader, Passages, mask_units
from relgnn.text.rows import like_length, require_fast
from relgnn.training import Keeping, Task, TrainSettings

Pairs = tuple[Tensor, Tensor]
"""Passages of each row, int64 [B, 1 or 2], and whether the second follows the first, bool [B]."""

HIDDEN_AT_ONCE = 7
"""Perplexity hides every seventh word at a time: 14 %, as training does."""
ROWS_AT_ONCE = 64


class MaskedHead(nn.Module):
    """P(token | state of a hidden token), tied to the input embeddings E (Devlin et al., 2019).

        logits = E LayerNorm(GELU(W x)) + b

    b begins as the tokens' log frequency, so that the first thing said is how common they are.

    Args:
        network: a Hugging Face encoder; its embeddings stay its own.
        ids: the tokens of the corpus.
    """

    def __init__(self, network: Any, ids: Tensor) -> None:
        super().__init__()
        size, width = network.get_input_embeddings().weight.shape
        self.transform = nn.Sequential(
            nn.Linear(network.config.hidden_size, width), nn.GELU(), nn.LayerNorm(width)
        )
        counts = torch.bincount(ids, minlength=size).float() + 1
        self.bias = nn.Parameter((counts / counts.sum()).log())

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """Logits [N, vocabulary], float32, of states [N, d] under embeddings [vocabulary, e]."""
        return functional.linear(self.transform(states), embeddings, self.bias).float()


class Pretrained(nn.Module):
    """A language model with the heads that its pre-training needs.

    Args:
        network: a Hugging Face encoder.
        objectives: which heads.
        ids: see `MaskedHead`.
    """

    def __init__(self, network: Any, objectives: str, ids: Tensor) -> None:
        super().__init__()
        self.network = network
        self.masked = MaskedHead(network, ids) if objectives != "nsp" else None
        width = int(network.config.hidden_size)
        # BERT's pooler and classifier, on the state of the first token
        self.follows = (
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
            if objectives != "mlm"
            else None
        )

    def states(self, ids: Tensor, batch: PassageBatch) -> Tensor:
        """Last hidden states [B, L, d] where `batch` reads `ids`."""
        told = {}
        if getattr(self.network.config, "type_vocab_size", 0) > 1:
            told["token_type_ids"] = batch.segment
        found: Tensor = self.network(
            input_ids=ids, attention_mask=batch.mask.long(), **told
        ).last_hidden_state
        return found

    def guess(self, states: Tensor) -> Tensor:
        """Logits [N, vocabulary] of the states of hidden tokens [N, d], and of no others."""
        assert self.masked is not None
        found: Tensor = self.masked(states, self.network.get_input_embeddings().weight)
        return found


class PretrainingTask(Task[Pairs]):
    """Cross-entropy of hidden tokens, and of whether the second sentence follows the first.

    Half the pairs are two sentences of one text, in half the second is from another text.

    Args:
        model: what is trained.
        passages: windows of texts without `follows`, else sentences.
        reader: makes rows of passages.
        settings: objectives and rates.
        head_only: the language model stays as it is.
    """

    def __init__(
        self,
        model: Pretrained,
        passages: Passages,
        reader: PassageReader,
        settings: PretrainingConfig,
        head_only: bool,
    ) -> None:
        self._model, self.passages, self.reader = model, passages, reader
        self.settings, self.head_only = settings, head_only
        self.name = "pre-training's heads" if head_only else "pre-training"
        self.rate_keys = (f"pretraining.{'head_' if head_only else ''}lr",)
        paired = model.follows is not None
        self.first = passages.following() if paired else torch.arange(len(passages))
        model.network.requires_grad_(not head_only)

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return -(-len(self.first) // self.settings.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Pairs]:
        chosen, follows = self._pairs(generator)
        lengths = self.passages.lengths[chosen].sum(1)
        parts = like_length(lengths, self.settings.batch_size, generator)
        return [(chosen[part], follows[part]) for part in parts]

    def items(self, batch: Pairs) -> int:
        return len(batch[1])

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        model, settings = self._model, self.settings
        chosen, follows = batch
        rows = self.reader.rows(self.passages, chosen).to(model_device(model))
        ids, hidden = rows.ids, torch.zeros_like(rows.mask)
        if model.masked is not None:
            tokenizer = self.reader.tokenizer
            ids, hidden = mask_units(
                rows, settings.share, settings.entities, tokenizer.mask_token_id, len(tokenizer),
                generator,
            )  # fmt: skip
        with torch.no_grad() if self.head_only else nullcontext():
            states = model.states(ids, rows)
        loss = states.new_zeros((), dtype=torch.float32)
        if model.masked is not None:
            # Gathered first: the head's product with all embeddings is for hidden tokens alone.
            summed = functional.cross_entropy(
                model.guess(states[hidden]), rows.ids[hidden], reduction="sum"
            )
            loss = loss + summed / max(1, int(hidden.sum()))
        if model.follows is not None:
            logits = model.follows(states[:, 0])[:, 0].float()
            loss = loss + functional.binary_cross_entropy_with_logits(
                logits, follows.to(logits.device).float()
            )
        return loss

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return two_rates(self._model, lr, self.settings.head_lr, weight_decay)

    def _pairs(self, generator: torch.Generator) -> Pairs:
        if self._model.follows is None:
            return self.first[:, None], torch.ones(len(self.first), dtype=torch.bool)
        return pairs(self.passages, generator)


def pairs(passages: Passages, generator: torch.Generator) -> Pairs:
    """Every sentence that another follows, with that one or, in half the pairs, a stranger."""
    first = passages.following()
    follows = torch.rand(len(first), generator=generator) < 0.5
    second = torch.where(follows, first + 1, passages.elsewhere(first, generator))
    return torch.stack([first, second], 1), follows


@torch.no_grad()
def perplexity(model: Pretrained, passages: Passages, reader: PassageReader) -> float:
    """Pseudo-perplexity exp(-mean log P(token | the others)) (Salazar et al., 2020).

    Every word is hidden once, all its tokens together with those of every seventh word: a seventh
    of the passes that hiding one at a time takes, and what a model is trained for.

    Args:
        model: in evaluation mode.
        passages: whole words as units.
        reader: makes rows of them.
    """
    total = count = 0.0
    for part in torch.argsort(passages.lengths).split(ROWS_AT_ONCE):
        rows = reader.rows(passages, part[:, None]).to(model_device(model))
        for turn in range(HIDDEN_AT_ONCE):
            hidden = (rows.unit != OUTSIDE) & (rows.unit % HIDDEN_AT_ONCE == turn)
            if not hidden.any():
                continue
            ids = rows.ids.masked_fill(hidden, reader.tokenizer.mask_token_id)
            logits = model.guess(model.states(ids, rows)[hidden])
            total += float(functional.cross_entropy(logits, rows.ids[hidden], reduction="sum"))
            count += int(hidden.sum())
    return math.exp(total / max(1.0, count))


@torch.no_grad()
def following_accuracy(
    model: Pretrained, passages: Passages, reader: PassageReader, drawn: Pairs
) -> float:
    """Share of pairs of which the model says rightly whether the second follows the first."""
    assert model.follows is not None
    right = 0
    for chosen, follows in zip(*(x.split(ROWS_AT_ONCE) for x in drawn), strict=True):
        rows = reader.rows(passages, chosen).to(model_device(model))
        said = model.follows(model.states(rows.ids, rows)[:, 0])[:, 0] > 0
        right += int((said.cpu() == follows).sum())
    return right / len(drawn[1])


@dataclass(frozen=True)
class Measure:
    """What is told of texts that are not learnt, before and after."""

    windows: Passages
    sentences: Passages
    drawn: Pairs
    reader: PassageReader
    runtime: Runtime

    def of(self, model: Pretrained) -> dict[str, float]:
        """perplexity and nsp_accuracy, where the model has the head."""
        model.eval()
        found = {}
        with self.runtime.autocast():
            if model.masked is not None:
                found["perplexity"] = perplexity(model, self.windows, self.reader)
            if model.follows is not None:
                found["nsp_accuracy"] = following_accuracy(
                    model, self.sentences, self.reader, self.drawn
                )
        return found


def pretrain(
    network: Any,
    tokenizer: Any,
    texts: Sequence[MarkedText],
    settings: PretrainingConfig,
    max_tokens: int,
    runtime: Runtime,
    folder: Path,
    resume: bool = False,
) -> dict[str, float]:
    """Train a language model in place on texts alone.

    The heads are new (a package may hold none), so they alone are trained first; what is measured
    then is "before". After it everything is trained, heads included.

    Args:
        network, tokenizer: of `load_model`.
        texts: some are held out, drawn by the run's seed.
        settings: objectives, rates, what is hidden.
        max_tokens: longest row.
        runtime: device, precision and seed.
        folder: of the run; its state is kept in `resume/pretraining` and its epochs in `log.jsonl`.
        resume: go on from that state.

    Returns:
        `perplexity` (see there) and `nsp_accuracy` of held-out texts, both also as `…_before`.

    Raises:
        InputError: the tokenizer is not a fast one or has no mask token, or texts are too few.
    """
    require_fast(tokenizer)
    masked, paired = settings.objectives != "nsp", settings.objectives != "mlm"
    if masked and tokenizer.mask_token_id is None:
        raise InputError(
            "pretraining.objectives needs a mask token and the model's tokenizer has none; take "
            "another model, or objectives: nsp"
        )
    learnt, kept = _split(texts, settings, runtime)
    reader = PassageReader(tokenizer, max_tokens)
    whole = settings.entities > 0
    passages = reader.sentences(learnt, whole) if paired else reader.windows(learnt, whole)
    measure = _measure(kept, reader, runtime)
    if paired:
        _require_pairs(passages, "learnt")
        _require_pairs(measure.sentences, "held out")
    with runtime.drawn_from("pretraining's heads"):
        model = Pretrained(network, settings.objectives, passages.ids).to(runtime.device)

    def fit(head_only: bool) -> dict[str, float]:
        told = TrainSettings(
            epochs=settings.head_epochs if head_only else settings.epochs,
            lr=settings.head_lr if head_only else settings.lr,
            weight_decay=0.01, schedule="linear", warmup=0.1, clip=1.0,
        )  # fmt: skip
        task = PretrainingTask(model, passages, reader, settings, head_only)
        keeping = Keeping.of_run(folder, resume).part("pretraining")
        keeping.part("heads" if head_only else "whole").train(task, told, runtime)
        return measure.of(model)

    before, after = fit(head_only=True), fit(head_only=False)
    return after | {f"{name}_before": value for name, value in before.items()}


def _split(
    texts: Sequence[MarkedText], settings: PretrainingConfig, runtime: Runtime
) -> tuple[list[MarkedText], list[MarkedText]]:
    """Texts that are learnt, and those that are held out."""
    if len(texts) < 4:
        raise InputError(
            f"pretraining: {len(texts)} texts, and two have to be held out; give at least four"
        )
    order = runtime.rng("pretraining's held-out texts").permutation(len(texts)).tolist()
    count = max(2, min(settings.held_out, len(texts) // 10))
    return [texts[i] for i in sorted(order[count:])], [texts[i] for i in sorted(order[:count])]


def _measure(kept: Sequence[MarkedText], reader: PassageReader, runtime: Runtime) -> Measure:
    """Whole words are hidden here whatever training hides, so that figures can be compared."""
    sentences = reader.sentences(kept, whole=False)
    drawn = pairs(sentences, runtime.torch_rng("pretraining's held-out pairs"))
    windows = reader.windows([MarkedText(one.text) for one in kept], whole=True)
    return Measure(windows, sentences, drawn, reader, runtime)


def _require_pairs(passages: Passages, which: str) -> None:
    if not len(passages.following()) or int(passages.text[0]) == int(passages.text[-1]):
        raise InputError(
            f"pretraining.objectives: of the texts that are {which}, too few have two sentences or "
            "halves; give more texts, or take objectives: mlm"
        )
