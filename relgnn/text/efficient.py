"""Tuning few parameters of a language model: LoRA, AdaLoRA, (IA)³, prefixes and adapters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from relgnn.config import EfficientConfig, RelationConfig
from relgnn.errors import InputError
from relgnn.runtime import optional_import
from relgnn.text.classifier import RelationClassifier
from relgnn.text.objectives import Objective, Step

ADAPTER_TARGETS = ("output.dense",)
"""Where BERT's attention and feed-forward end, and what they say joins the residual stream."""
EXCLUDED = r".*\bpooler\b.*"
"""BERT's pooler, which nothing here reads."""
SETTLING, SETTLED = 0.1, 0.7
"""AdaLoRA takes ranks away between these shares of all steps."""
ORTHOGONAL = 0.5
"""Weight of AdaLoRA's orthogonality (peft's default; the paper's is .1 to .5)."""


def attach(network: Any, settings: EfficientConfig, new_tokens: Sequence[int]) -> Any:
    """Freeze a language model and give it few parameters to tune.

    - lora: W + (alpha / rank) B A beside queries and values (Hu et al., 2022);
    - adalora: W + (alpha / 1.5 rank) P Λ Q, whose least important Λ `RankAllocation` takes away
      (Zhang et al., 2023);
    - ia3: keys, values and what the feed-forward's second layer reads, scaled (Liu et al., 2022);
    - prefix: keys and values before the sentence's own in each layer (Li and Liang, 2021), whose
      tokens keep their order but count on from the prefix;
    - adapter: x + W_2 GELU(W_1 x) after attention and feed-forward, and their layer norms (Houlsby
      et al., 2019); peft has none for encoders, so it is `Bottleneck`.

    Args:
        network: a Hugging Face encoder, with rows for its new tokens.
        settings: method and sizes.
        new_tokens: ids that the tokenizer got anew; their embeddings are learnt with every method,
            as nothing else tells an entity's markers from noise.

    Returns:
        What takes the network's place.

    Raises:
        InputError: peft is not installed, or the model has none of the layers.
    """
    if settings.method == "adapter":
        network.requires_grad_(False)
        _adapt(network, settings)
    else:
        with optional_import("peft"):
            import peft
        config = _peft_config(network, settings)
        try:
            with warnings.catch_warnings():  # peft asks transformers by a name that is to go
                warnings.simplefilter("ignore", FutureWarning)
                network = peft.get_peft_model(network, config)
        except ValueError as error:
            raise _no_layers(settings, str(error).partition("\n")[0]) from None
    if len(new_tokens):
        embedding = network.get_input_embeddings()
        first = min(new_tokens)
        network.set_input_embeddings(GrownEmbedding(embedding, first, max(new_tokens) + 1 - first))
    return network


def merge(network: Any) -> Any:
    """A language model of the old shape that says what `attach`'s says; all of it is trainable.

    Args:
        network: of LoRA, AdaLoRA or (IA)³.
    """
    merged = network.merge_and_unload()
    embedding = merged.get_input_embeddings()
    if isinstance(embedding, GrownEmbedding):
        merged.set_input_embeddings(embedding.merged())
    return merged.requires_grad_(True)


def as_saved(config: RelationConfig) -> RelationConfig:
    """The configuration whose model a run's checkpoint fits: a merged one is tuned no more."""
    efficient = config.extraction.efficient
    if efficient is None or efficient.save == "adapter":
        return config
    extraction = config.extraction.model_copy(update={"efficient": None})
    return config.model_copy(update={"extraction": extraction})


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """How many numbers are trained, and how many there are."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {"trained": sum(n for n, own in sizes if own), "total": sum(n for n, _ in sizes)}


class GrownEmbedding(nn.Module):
    """A frozen embedding whose new rows are learnt.

    Args:
        base: the embedding, new rows included; they are what learning begins with.
        first: id of the first new row.
        count: how many there are.
    """

    def __init__(self, base: nn.Embedding, first: int, count: int) -> None:
        super().__init__()
        self.base, self.first = base, first
        self.rows = nn.Parameter(base.weight.detach()[first : first + count].clone())

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [..., d] of ids [...]."""
        place = ids - self.first
        new = (place >= 0) & (place < len(self.rows))
        learnt = self.rows[place.clamp(0, len(self.rows) - 1)]
        return torch.where(new[..., None], learnt, self.base(ids))

    def merged(self) -> nn.Embedding:
        """The embedding with what was learnt."""
        with torch.no_grad():
            self.base.weight[self.first : self.first + len(self.rows)] = self.rows
        return self.base


class Bottleneck(nn.Module):
    """x + W_2 GELU(W_1 x), at first x: W_2 begins as zero (Houlsby et al., 2019).

    Args:
        width: of x.
        rank: of the bottleneck.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor) -> Tensor:
        """[..., width] of [..., width]."""
        changed: Tensor = self.up(nn.functional.gelu(self.down(states)))
        return states + changed


class RankAllocation(Objective):
    """AdaLoRA's allocation of ranks, which peft does, with its memory as buffers.

    The loss gains ORTHOGONAL · mean ‖PᵀP - I‖, and after each step the importance of every Λ_i is
    averaged and the least important are set to zero, until on average `rank` of a layer's 1.5 rank
    are left.

    Args:
        tuner: peft's AdaLoraModel.
        steps: of the whole training.
    """

    def __init__(self, tuner: Any, steps: int) -> None:
        super().__init__()
        config = _adapter(tuner)
        config.total_step, config.tinit = steps, int(SETTLING * steps)
        config.tfinal = steps - max(config.tinit + 1, int(SETTLED * steps))
        named = [(n, p) for n, p in tuner.model.named_parameters() if ".lora_" in n]
        self.sizes = {name: p.shape for name, p in named}
        self.ranks = {name: len(p) for name, p in named if ".lora_E." in name}
        total = sum(p.numel() for _, p in named)
        self.importance: Tensor
        self.uncertainty: Tensor
        self.kept: Tensor
        self.step: Tensor
        self.register_buffer("importance", torch.zeros(total))
        self.register_buffer("uncertainty", torch.zeros(total))
        self.register_buffer("kept", torch.ones(sum(self.ranks.values()), dtype=torch.bool))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        norms = []
        for name, p in step.model.network.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                gram = p @ p.T if ".lora_A." in name else p.T @ p
                norms.append((gram - torch.eye(len(gram), device=gram.device)).norm())
        return ORTHOGONAL * torch.stack(norms).mean()

    def stepped(self, model: RelationClassifier) -> None:
        """See `Objective`."""
        tuner: Any = model.network.base_model
        allocator, config = tuner.rankallocator, _adapter(tuner)
        allocator.ipt = dict.fromkeys(self.sizes)
        allocator.exp_avg_ipt = self._named(self.importance)
        allocator.exp_avg_unc = self._named(self.uncertainty)
        kept = self.kept.split(list(self.ranks.values()))
        config.rank_pattern = {n: k.tolist() for n, k in zip(self.ranks, kept, strict=True)}
        tuner.update_and_allocate(int(self.step))
        # peft forgets the importance once the ranks are settled.
        for buffer, named in (
            (self.importance, allocator.exp_avg_ipt), (self.uncertainty, allocator.exp_avg_unc)
        ):  # fmt: skip
            if named:
                buffer.copy_(torch.cat([named[n].reshape(-1) for n in self.sizes]))
        pattern = [flag for name in self.ranks for flag in config.rank_pattern[name]]
        self.kept.copy_(torch.tensor(pattern))
        self.step += 1

    def _named(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [math.prod(shape) for shape in self.sizes.values()]
        parts = zip(self.sizes.items(), flat.split(sizes), strict=True)
        return {name: part.view(shape) for (name, shape), part in parts}


def allocation(model: RelationClassifier, steps: int) -> list[Objective]:
    """What AdaLoRA adds to a training of so many steps; nothing for other methods."""
    settings = model.settings.efficient
    if settings is None or settings.method != "adalora":
        return []
    return [RankAllocation(model.network.base_model, steps)]


def _adapter(tuner: Any) -> Any:
    return tuner.peft_config[tuner.trainable_adapter_name]


def _peft_config(network: Any, settings: EfficientConfig) -> Any:
    import peft
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as inner

    kind: dict[str, Any] = {"task_type": "FEATURE_EXTRACTION"}
    if settings.method == "prefix":
        return peft.PrefixTuningConfig(**kind, num_virtual_tokens=settings.tokens)
    kind |= {"target_modules": settings.targets, "exclude_modules": EXCLUDED}
    if settings.method == "ia3":
        if settings.targets is not None:
            scaled = inner.get(network.config.model_type, [])
            kind["feedforward_modules"] = [x for x in settings.targets if x in scaled]
        return peft.IA3Config(**kind)
    kind |= {"lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
    if settings.method == "lora":
        return peft.LoraConfig(**kind, r=settings.rank)
    # how many steps there are is told by RankAllocation
    initial = math.ceil(1.5 * settings.rank)
    return peft.AdaLoraConfig(**kind, target_r=settings.rank, init_r=initial, total_step=1)


def _adapt(network: Any, settings: EfficientConfig) -> None:
    """Put a bottleneck behind the linear layers, and train the layer norms after them."""
    ends = tuple(settings.targets or ADAPTER_TARGETS)
    found = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and any(f".{name}".endswith(f".{end}") for end in ends)
    ]
    if not found:
        raise _no_layers(settings, f"no linear layer's name ends in {' or '.join(ends)}")
    for module in found:
        module.add_module("adapter", Bottleneck(module.out_features, settings.rank))
        module.register_forward_hook(_through_adapter)
    for name, module in network.named_modules():
        if isinstance(module, nn.LayerNorm) and "embeddings" not in name:
            module.requires_grad_(True)


def _through_adapter(module: Any, inputs: Any, output: Tensor) -> Tensor:
    found: Tensor = module.adapter(output)
    return found


def _no_layers(settings: EfficientConfig, reason: str) -> InputError:
    return InputError(
        f"extraction.efficient.targets: {settings.method} finds no layers in this language model "
        f"({reason}); give the ends of the names of its linear layers"
    )
