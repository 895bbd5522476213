"""A causal language model states the relation: every label's words are scored after a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from relgnn.config import GenerativeConfig
from relgnn.config.generative import WriterConfig
from relgnn.data.relations import Example, RelationData, require_parts
from relgnn.errors import InputError
from relgnn.ranking.classification import f1_scores
from relgnn.runtime import Runtime, cache_home, rng
from relgnn.text.encoder import TextEncoder
from relgnn.text.generation import load_writer, require_room
from relgnn.text.generative_task import tune
from relgnn.text.reader import load_data
from relgnn.training.progress import bar
from relgnn.training.run_folder import carry_out

CONTENT_FREE = Example("N/A", (0, 3), (0, 3), -1)
"""A sentence that states nothing (Zhao et al., 2021)."""


def run_generative(config: GenerativeConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Tune the model where asked, let it state the relation of test sentences, leave a run folder.

    Args:
        config: what to do; train gives the examples in the prompt.
        folder: made here; must not hold a run yet, unless `resume`. A tuned model's trained weights
            are written there.
        resume: go on with the interrupted run in `folder`, to the same numbers.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, the data are not as they should be, the model
            cannot be loaded, a verbaliser's label is unknown, a prompt is longer than the model
            reads, or peft is missing where it is needed.
    """

    def load(config: GenerativeConfig) -> RelationData:
        data = load_data(config)
        require_parts(data, ("train", "test"))
        return data

    def work(data: RelationData, runtime: Runtime) -> dict[str, Any]:
        test = _measure(config.generative, data, runtime, folder, resume)
        return {"test": test, "rows": {"final": test}}

    return carry_out(config, folder, resume, load, work)


def _measure(
    settings: WriterConfig, data: RelationData, runtime: Runtime, folder: Path, resume: bool
) -> dict[str, float]:
    """F1 of what the model states of test sentences."""
    network, tokenizer = load_writer(
        settings.model, AutoModelForCausalLM, "generative.model", runtime.device
    )
    asker = Asker(settings, data, runtime.rng("shots"))
    if settings.mode == "tuned":
        network = tune(network, tokenizer, asker.answered(data.train), settings, runtime, folder,
                       resume)  # fmt: skip
    if runtime.precision == "bf16":
        network.to(torch.bfloat16)
    order = rng("generative test", 0).permutation(len(data.test))
    asked = [data.test[i] for i in order[: settings.limit or len(order)]]
    scores = stated(asker, asked, network, tokenizer)
    truth = np.array([one.relation for one in asked])
    return f1_scores(truth, scores.argmax(1), data.positive, data.families)


class Asker:
    """Writes prompts and answers.

    Args:
        settings: instruction, template, verbalisers and the choice of examples.
        data: labels, and training sentences as examples.
        generator: draws the examples.

    Raises:
        InputError: a verbaliser's label is unknown.
    """

    def __init__(
        self, settings: WriterConfig, data: RelationData, generator: np.random.Generator
    ) -> None:
        unknown = sorted(set(settings.verbalisers) - set(data.labels))
        if unknown:
            raise InputError(
                f"generative.verbalisers: {unknown[0]!r} is no label of {data.name}; known are "
                f"{', '.join(data.labels)}"
            )
        self.settings, self.data = settings, data
        names = zip(data.labels, data.label_names, strict=True)
        self.verbalisers = [settings.verbalisers.get(x, name or x) for x, name in names]
        labels = np.array([one.relation for one in data.train])
        drawn = [
            i
            for label in range(len(data.labels))
            for i in generator.permutation(np.flatnonzero(labels == label))[: settings.examples]
        ]
        self._drawn = [data.train[i] for i in generator.permutation(drawn).astype(int)]

    def answers(self, one: Example) -> list[str]:
        """What states each label of a sentence."""
        head, tail = _mentions(one)
        # not `format`: a name in a data set may hold braces
        return [
            " " + words.replace("{head}", head).replace("{tail}", tail)
            for words in self.verbalisers
        ]

    def question(self, one: Example) -> str:
        """The sentence and what is asked of it."""
        head, tail = _mentions(one)
        return self.settings.template.format(text=one.text, head=head, tail=tail)

    def contexts(self, examples: Sequence[Example]) -> list[str]:
        """What stands before the question of each sentence: instruction and answered examples."""
        if self.settings.selection == "random" or not self.settings.examples:
            return [self._context(self._drawn)] * len(examples)
        encoder = TextEncoder(self.settings.encoder, cache=cache_home())
        train = encoder.encode([one.text for one in self.data.train])
        near = encoder.encode([one.text for one in examples]) @ train.T
        rows = near.topk(min(self.settings.examples, len(train)), dim=1).indices.tolist()
        # the nearest last, where the model reads it last
        return [self._context([self.data.train[i] for i in reversed(own)]) for own in rows]

    def answered(self, examples: Sequence[Example]) -> list[tuple[str, str]]:
        """Prompts without examples, and their right answers: what a model is tuned on."""
        return [
            (self._context([]) + self.question(one), self.answers(one)[one.relation])
            for one in examples
        ]

    def _context(self, shots: Sequence[Example]) -> str:
        parts = [self.question(one) + self.answers(one)[one.relation] for one in shots]
        return "".join(f"{part}\n\n" for part in (self.settings.instruction, *parts) if part)


def stated(asker: Asker, examples: Sequence[Example], network: Any, tokenizer: Any) -> np.ndarray:
    """Scores [n, labels]: mean log-probability of the tokens that state each label.

    With `calibrate`, those for a sentence without content are taken off, which is the contextual
    calibration of Zhao et al. (2021) with a diagonal matrix and without a bias.

    Args:
        asker: writes prompts and answers.
        examples: what is asked about.
        network, tokenizer: a causal language model.
    """
    contexts = asker.contexts(examples)
    prompts = [c + asker.question(one) for c, one in zip(contexts, examples, strict=True)]
    scores = answer_scores(network, tokenizer, prompts, [asker.answers(one) for one in examples])
    if not asker.settings.calibrate:
        return scores
    distinct = list(dict.fromkeys(contexts))
    empty = answer_scores(
        network, tokenizer, [context + asker.question(CONTENT_FREE) for context in distinct],
        [asker.answers(CONTENT_FREE)] * len(distinct),
    )  # fmt: skip
    prior = dict(zip(distinct, empty, strict=True))
    return scores - np.array([prior[context] for context in contexts]).reshape(scores.shape)


@torch.inference_mode()
def answer_scores(
    network: Any, tokenizer: Any, prompts: Sequence[str], answers: Sequence[Sequence[str]]
) -> np.ndarray:
    """Mean token log-probability of each answer after its prompt, [n, answers].

    What all prompts begin with is read once and its keys and values are kept. The rest of a prompt
    and all its answers are then one row of tokens, in which an answer sees the prompt and itself
    alone: so the prompt is read once for all answers.

    Args:
        network: a causal model that takes a four-dimensional attention mask.
        tokenizer: its own.
        prompts: n texts.
        answers: of each prompt, the same number for all.

    Raises:
        InputError: a prompt with its answer is longer than the model reads.
    """
    asked = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    said = [tokenizer(list(own), add_special_tokens=False)["input_ids"] for own in answers]
    pairs = zip(asked, said, strict=True)
    require_room(network, max((len(ids) + max(map(len, own)) for ids, own in pairs), default=0))
    # the last token of a prompt is read with its answers, as it says the first word of each
    shared = len(commonprefix([ids[:-1] for ids in asked]))
    cache = None
    if shared:
        start = torch.tensor([asked[0][:shared]], device=network.device)
        cache = network(start, use_cache=True, logits_to_keep=1).past_key_values
    rows = []
    with bar("stating relations", len(asked)) as shown:
        for ids, own in zip(asked, said, strict=True):
            rows.append(_score(network, cache, shared, ids[shared:], own))
            if cache is not None:
                cache.crop(shared - cache.get_seq_length())  # how many to take off, as a negative
            shown.advance()
    return np.array(rows, dtype=np.float32)


def _score(
    network: Any, cache: Any, shared: int, question: Sequence[int], answers: Sequence[Sequence[int]]
) -> list[float]:
    lengths = [len(answer) for answer in answers]
    flat = [token for answer in answers for token in answer]
    device = network.device
    places = torch.arange(shared, shared + len(question)).tolist()
    places += [shared + len(question) + i for length in lengths for i in range(length)]
    logits = network(
        torch.tensor([[*question, *flat]], device=device),
        attention_mask=_tree_mask(shared, len(question), lengths, network.dtype).to(device),
        position_ids=torch.tensor([places], device=device),
        past_key_values=cache, use_cache=cache is not None, logits_to_keep=len(flat) + 1,
    ).logits[0]  # fmt: skip
    # a token is told by the one before it, an answer's first by the last of the prompt
    before, at = [], 0
    for length in lengths:
        before += [0, *range(at + 1, at + length)]
        at += length
    chosen = logits.float().log_softmax(1)[before, flat]
    return [float(part.mean()) for part in chosen.split(lengths)]


def _tree_mask(shared: int, question: int, lengths: Sequence[int], dtype: torch.dtype) -> Tensor:
    """What is added to attention scores [1, 1, question + answers, shared + question + answers]."""
    prompt = torch.ones(question, question, dtype=torch.bool).tril()
    branches = [torch.ones(n, n, dtype=torch.bool).tril() for n in lengths]
    size = question + sum(lengths)
    seen = torch.zeros(size, shared + size, dtype=torch.bool)
    seen[:, :shared] = True
    seen[:question, shared : shared + question] = prompt
    seen[question:, shared : shared + question] = True
    seen[question:, shared + question :] = torch.block_diag(*branches)
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
    return mask[None, None]


def _mentions(one: Example) -> tuple[str, str]:
    return one.text[slice(*one.head)], one.text[slice(*one.tail)]
