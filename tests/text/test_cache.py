"""The vector cache: writers share it, damage is passed over, merging loses nothing."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from relgnn.text import cache as cache_module
from relgnn.text.cache import KEY_BYTES, MANY_SHARDS, VectorCache
from relgnn.training import save_tensors

DIM = 3
WRITERS, PUTS = 2, 3 * MANY_SHARDS


def keys(*numbers: int) -> np.ndarray:
    return np.array([n.to_bytes(KEY_BYTES) for n in numbers], dtype=f"S{KEY_BYTES}")


def rows(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float16)[:, None].expand(-1, DIM)


def write(folder: Path, writer: int) -> None:
    cache = VectorCache(folder, DIM)
    for n in range(PUTS):
        number = n * WRITERS + writer
        cache.put(keys(number), rows(number))
        assert cache.get(keys(number))[0].all()


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_two_writers_share_a_cache_and_merge_its_shards(tmp_path: Path, kind: str) -> None:
    if kind == "threads":
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, [tmp_path] * WRITERS, range(WRITERS)))
    else:
        fork = multiprocessing.get_context("fork")
        processes = [fork.Process(target=write, args=(tmp_path, w)) for w in range(WRITERS)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * WRITERS
    everything = np.random.default_rng(0).permutation(WRITERS * PUTS)
    found, vectors = VectorCache(tmp_path, DIM).get(keys(*everything.tolist()))
    assert found.all()
    assert torch.equal(vectors, rows(*everything.tolist()))
    assert len(shards(tmp_path)) < WRITERS * PUTS / 2


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=2 * MANY_SHARDS))
def test_a_cache_is_a_dictionary(tmp_path_factory: pytest.TempPathFactory, puts: list) -> None:
    cache = VectorCache(tmp_path_factory.mktemp("cache"), DIM)
    reference = {n for numbers in puts for n in numbers}
    for numbers in puts:
        cache.put(keys(*numbers), rows(*numbers))
    asked = list(range(31))
    found, vectors = cache.get(keys(*asked))
    assert {n for n in asked if found[n]} == reference
    assert torch.equal(vectors[found], rows(*sorted(reference)))
    assert not vectors[~found].any()


def test_an_open_reader_follows_a_merge(tmp_path: Path) -> None:
    reader, writer = VectorCache(tmp_path, DIM), VectorCache(tmp_path, DIM)
    numbers = range(MANY_SHARDS)
    for n in numbers:
        writer.put(keys(n), rows(n))
        assert reader.get(keys(*numbers))[0].sum() == n + 1
    assert len(shards(tmp_path)) == 1


def test_a_merge_between_listing_and_opening_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = VectorCache(tmp_path, DIM), VectorCache(tmp_path, DIM)
    numbers = range(MANY_SHARDS)
    for n in numbers[:-1]:
        writer.put(keys(n), rows(n))
    opened = []

    def opening(path: Path, **options: str) -> object:
        if not opened:
            opened.append(path)
            writer.put(keys(numbers[-1]), rows(numbers[-1]))
            assert not path.exists()
            raise RuntimeError("unable to open file in read-only mode: No such file or directory")
        return safe_open(path, **options)

    monkeypatch.setattr(cache_module, "safe_open", opening)
    found, vectors = reader.get(keys(*numbers))
    assert found.all()
    assert torch.equal(vectors, rows(*numbers))


def test_large_shards_are_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SMALL_SHARD", 2)
    cache = VectorCache(tmp_path, DIM)
    for n in range(0, 3 * MANY_SHARDS, 2):
        cache.put(keys(n, n + 1), rows(n, n + 1))
    assert len(shards(tmp_path)) == 3 * MANY_SHARDS / 2


def test_a_look_up_reads_no_shard_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = VectorCache(tmp_path, DIM)
    cache.put(keys(1, 2), rows(1, 2))
    assert cache.get(keys(1))[0].all()
    monkeypatch.setattr(cache_module, "safe_open", lambda *_, **__: pytest.fail("opened again"))
    assert torch.equal(cache.get(keys(2, 7, 1))[1], rows(2, 0, 1))


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut", "old format", "other width"])
def test_a_shard_that_does_not_fit_is_passed_over(tmp_path: Path, damage: str) -> None:
    cache = VectorCache(tmp_path, DIM)
    cache.put(keys(1), rows(1))
    [lost] = shards(tmp_path)
    cache.put(keys(2), rows(2))
    whole = lost.read_bytes()
    lost.unlink()
    if damage == "old format":
        save_tensors(lost, {"vectors": rows(1)}, {"keys": ["1"]})
    elif damage == "other width":
        VectorCache(tmp_path, DIM + 1).put(keys(1), torch.ones(1, DIM + 1))
    else:
        lost.write_bytes({"empty": b"", "foreign": b"no safetensors", "cut": whole[:-4]}[damage])
    found, vectors = VectorCache(tmp_path, DIM).get(keys(1, 2, 3))
    assert found.tolist() == [False, True, False]
    assert torch.equal(vectors, rows(0, 2, 0))


def test_an_absent_cache_is_empty(tmp_path: Path) -> None:
    found, vectors = VectorCache(tmp_path / "none", DIM).get(keys(1))
    assert not found.any() and torch.equal(vectors, rows(0))
