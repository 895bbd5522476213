"""A causal language model is tuned to give the right answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config.generative import WriterConfig
from relgnn.runtime import Runtime, optional_import
from relgnn.text.generation import require_room
from relgnn.training import CHECKPOINT, Keeping, TrainSettings, module_tensors, save_tensors
from relgnn.training.task import NumberedTask

IGNORED = -100


class AnswerTask(NumberedTask):
    """Mean over sentences of the mean cross-entropy of an answer's tokens.

    It is the negative of the right answer's score, see `relgnn.text.generative.answer_scores`.

    Args:
        network: a causal model; its weights that ask for a gradient are trained.
        tokenizer: its own.
        pairs: prompts and their answers.
        batch_size: pairs of a step.

    Raises:
        InputError: a prompt with its answer is longer than the model reads.
    """

    name = "relation writer"
    rate_keys = ("generative.lr",)

    def __init__(
        self, network: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], batch_size: int
    ) -> None:
        self.network, self.batch_size = network, batch_size
        self.padding = int(tokenizer.pad_token_id)
        self.rows = []
        for prompt, answer in pairs:
            asked = tokenizer(prompt)["input_ids"]
            said = tokenizer(answer, add_special_tokens=False)["input_ids"]
            told = torch.tensor([IGNORED] * len(asked) + said)
            self.rows.append((torch.tensor(asked + said), told))
        require_room(network, max((len(ids) for ids, _ in self.rows), default=0))
        # What is trained and nothing else, so that a state on the disk leaves frozen weights out.
        # The network itself stays in evaluation mode: it is tuned without dropout.
        self._trained = nn.ParameterList(p for p in network.parameters() if p.requires_grad)

    @property
    def model(self) -> nn.Module:
        return self._trained

    @property
    def count(self) -> int:
        return len(self.rows)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        read = self.tensors(batch)
        device = self.network.device
        ids, told = read["ids"].to(device), read["told"].to(device)[:, 1:]
        logits = self.network(ids, attention_mask=(read["mask"]).to(device)).logits[:, :-1]
        each = functional.cross_entropy(
            logits.transpose(1, 2).float(), told, ignore_index=IGNORED, reduction="none"
        )
        return (each.sum(1) / (told != IGNORED).sum(1)).mean()

    def tensors(self, batch: Tensor) -> dict[str, Tensor]:
        """Token ids, which of them are there, and which are answers (the others are -100)."""
        rows = [self.rows[i] for i in batch.tolist()]
        ids, told = (
            nn.utils.rnn.pad_sequence(list(part), batch_first=True, padding_value=value)
            for part, value in zip(zip(*rows, strict=True), (self.padding, IGNORED), strict=True)
        )
        lengths = torch.tensor([len(own) for own, _ in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return {"sentence": batch, "ids": ids, "told": told, "mask": mask}


def tune(
    network: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    settings: WriterConfig,
    runtime: Runtime,
    folder: Path,
    resume: bool,
) -> Any:
    """Tune a causal model on answered prompts, by LoRA (Hu et al., 2022) or whole.

    Args:
        network, tokenizer: the model.
        pairs: prompts and their answers.
        settings: epochs, rate, rank.
        runtime: of device, precision and draws.
        folder: of the run; `checkpoint.safetensors` gets the trained weights.
        resume: go on with the interrupted tuning there.

    Returns:
        The tuned model.

    Raises:
        InputError: a rank is asked for and peft is missing, or a prompt with its answer is longer
            than the model reads.
    """
    if settings.lora_rank:
        if runtime.train_precision == "bf16":
            network.to(torch.bfloat16)  # frozen: only the adapters need float32
        network = _with_lora(network, settings.lora_rank, runtime)
    task = AnswerTask(network, tokenizer, pairs, settings.batch_size)
    told = TrainSettings(
        epochs=settings.epochs, lr=settings.lr, schedule="linear", warmup=0.1, clip=1.0
    )
    Keeping.of_run(folder, resume).train(task, told, runtime)
    save_tensors(folder / CHECKPOINT, module_tensors(task.model))
    return network.eval()


def _with_lora(network: Any, rank: int, runtime: Runtime) -> Any:
    with optional_import("peft"):
        from peft import LoraConfig, get_peft_model
    with runtime.drawn_from("lora"):
        lora = LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
        )
        return get_peft_model(network, lora).eval()
