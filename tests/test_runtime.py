from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relgnn import runtime
from relgnn.config import RuntimeConfig
from relgnn.errors import MachineError
from relgnn.runtime import Runtime, drawn_from, environment, peak_memory_mb, rng, torch_rng


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


def build(**knobs: object) -> Runtime:
    return Runtime.from_config(RuntimeConfig(**knobs))


@given(st.text(max_size=10), st.integers(0, 2**40))
def test_a_stream_repeats(name: str, seed: int) -> None:
    assert np.array_equal(rng(name, seed).random(4), rng(name, seed).random(4))
    first, second = (torch.rand(4, generator=torch_rng(name, seed)) for _ in range(2))
    assert torch.equal(first, second)


def test_streams_differ_by_name_and_seed() -> None:
    draws = {rng(name, seed).integers(2**63) for name in ("a", "b", "a/1") for seed in range(3)}
    assert len(draws) == 9
    first = torch.rand(3, generator=torch_rng("a", 0))
    assert not torch.equal(first, torch.rand(3, generator=torch_rng("b", 0)))


def test_a_stream_is_the_same_on_every_machine() -> None:
    assert rng("negatives", 0).integers(0, 1000, 4).tolist() == [925, 767, 307, 552]


def test_streams_leave_the_global_generators_alone() -> None:
    before = torch.random.get_rng_state()
    rng("a", 0).random()
    torch.rand(2, generator=torch_rng("a", 0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_are_drawn_from_a_stream_and_the_global_generator_is_put_back() -> None:
    before = torch.random.get_rng_state()
    with drawn_from("a", 3):
        first = torch.rand(2)
    with build(seed=3, device="cpu").drawn_from("a"):
        again = torch.rand(2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, again)
    assert torch.equal(first, torch.rand(2, generator=torch_rng("a", 3)))


def test_runtime_streams_follow_its_seed() -> None:
    built = build(seed=3, device="cpu")
    assert built.rng("x").random() == rng("x", 3).random()
    assert torch.equal(
        torch.rand(2, generator=built.torch_rng("x")), torch.rand(2, generator=torch_rng("x", 3))
    )


def test_from_config_applies_threads_and_determinism() -> None:
    built = build(device="cpu", threads=1)
    assert built.threads == torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not build(device="cpu", deterministic=False).deterministic
    assert not torch.are_deterministic_algorithms_enabled()


def test_cuda_without_a_gpu_is_a_machine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert build(device="auto").device == torch.device("cpu")
    with pytest.raises(MachineError, match=r"runtime\.device=cpu") as caught:
        build(device="cuda")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("asked", "native", "text", "training"),
    [
        ("auto", True, "bf16", "fp32"),
        ("auto", False, "fp32", "fp32"),
        ("bf16", False, "bf16", "bf16"),
        ("fp32", True, "fp32", "fp32"),
    ],
)
def test_precision(
    asked: str, native: bool, text: str, training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "native_bf16", lambda device: native)
    built = build(device="cpu", precision=asked)
    assert (built.precision, built.train_precision) == (text, training)
    square = torch.eye(4)
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    with built.autocast():
        assert (square @ square).dtype == kinds[text]
    with built.autocast(training=True):
        assert (square @ square).dtype == kinds[training]


@pytest.mark.parametrize(
    ("flags", "native"), [("sse avx512_bf16", True), ("amx_bf16", True), ("avx512f", False)]
)
def test_native_bf16_reads_the_processor(
    flags: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_cpu_field", lambda field: flags)
    assert runtime.native_bf16(torch.device("cpu")) is native


def test_peak_memory_stays_and_counts_children() -> None:
    before = peak_memory_mb()
    # Earlier tests may have peaked above what is held now: the block must reach beyond that.
    held = psutil.Process().memory_info().rss / 2**20
    block = np.ones(int(before - held + 48) * 2**17)
    with_block = peak_memory_mb()
    assert with_block > before + 40
    del block
    slack = 4  # Linux counts pages in batches
    assert peak_memory_mb() > with_block - slack
    child = subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert peak_memory_mb() > with_block + 1
    child.communicate(b"\n")


def test_memory_where_the_system_counts_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_high_water", lambda pid: None)
    assert peak_memory_mb() > 1
    here = psutil.Process()
    assert runtime._child_memory(here) > 2**20

    def gone(process: psutil.Process) -> None:
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "memory_info", gone)
    assert runtime._child_memory(here) == 0


def test_high_water_of_no_process() -> None:
    assert runtime._high_water(2**30) is None


def test_environment_is_json_and_names_versions() -> None:
    found = json.loads(json.dumps(environment()))
    assert found["versions"]["torch"].startswith("2.13.0")
    assert found["threads"] == torch.get_num_threads()
    assert "cores" in found["hardware"] and "\n" not in found["hardware"]


def test_environment_leaves_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "LIBRARIES", ("torch", "no-such-library"))
    assert set(environment()["versions"]) == {"python", "relgnn", "torch"}


def test_a_processor_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)
    assert runtime._cpu_field("flags") == ""
