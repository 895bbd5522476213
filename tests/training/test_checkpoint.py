"""Checkpoints: whole or absent, and never pickle."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from relgnn.errors import InputError, MachineError
from relgnn.training.checkpoint import (
    atomic_file,
    load_json,
    load_module,
    load_tensors,
    module_tensors,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_json,
    save_json_lines,
    save_tensors,
    save_text,
)

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
# a lone surrogate has no UTF-8
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
def test_tensors_come_back_as_they_were(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    value = torch.arange(max(1, int(torch.tensor(shape).prod())))[: torch.Size(shape).numel()]
    value = value.reshape(shape).to(dtype)
    save_tensors(tmp_path / "x.safetensors", {"x": value}, {"a": [1, 0.1, None, "é"]})
    tensors, metadata = load_tensors(tmp_path / "x.safetensors")
    assert tensors["x"].dtype == dtype and torch.equal(tensors["x"], value)
    assert metadata == {"a": [1, 0.1, None, "é"]}


def test_tensors_that_share_memory_and_views_are_written_apart(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    views = {"base": base, "same": base, "column": base[:, 1], "row": base[1], "turned": base.T}
    save_tensors(tmp_path / "x", views)
    tensors, _ = load_tensors(tmp_path / "x")
    for name, value in views.items():
        assert torch.equal(tensors[name], value), name
    assert (tmp_path / "x").stat().st_size < 1000


def test_a_tied_module_comes_back_tied(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    expected = module[0].weight.detach().clone()
    save_tensors(tmp_path / "x", module_tensors(module))
    with torch.no_grad():
        module[0].weight.zero_()
    load_module(module, tmp_path / "x")
    assert torch.equal(module[1].weight, expected) and module[1].weight is module[0].weight


def test_no_tensors_but_metadata(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a" / "b" / "x", {}, {"n": 1})
    assert load_tensors(tmp_path / "a" / "b" / "x") == ({}, {"n": 1})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
        max_leaves=8,
    )
)
def test_json_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    save_json(path, value)
    assert load_json(path) == value


@contextmanager
def full_while_writing() -> Iterator[None]:
    """A real limit of the system on the size of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def full_at_rename() -> Iterator[None]:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        yield


def tensors_of(value: int, path: Path) -> None:
    save_tensors(path, {"x": torch.full((1000,), value)})


def test_json_lines_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    save_json_lines(path, [{"a": "é"}, [1]])
    assert path.read_text(encoding="utf-8") == '{"a": "é"}\n[1]\n'

    def broken() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_json_lines(tmp_path / "broken.jsonl", broken())
    assert list(tmp_path.iterdir()) == [path]


def json_of(value: int, path: Path) -> None:
    save_json(path, [value] * 1000)


@pytest.mark.parametrize("disk", [full_while_writing, full_at_rename])
@pytest.mark.parametrize("save", [tensors_of, json_of])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
    save: Callable[[int, Path], None],
    disk: Callable[[], AbstractContextManager[None]],
) -> None:
    path = tmp_path / "file"
    save(1, path)
    before = path.read_bytes()
    with pytest.raises(MachineError) as caught, disk():
        save(2, path)
    assert caught.value.exit_code == 3
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "choose another" in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == before


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    told = pytest.raises(MachineError, match="no space left on the disk; free some")
    with told, atomic_file(tmp_path / "x"):
        raise OSError(28, "No space left on device")


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot write .*file/x"):
        save_json(tmp_path / "file" / "x", 1)


@pytest.mark.parametrize("folder", [".", "/", "", "here"])
def test_a_folder_is_no_file_to_write(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match="is a folder; give the path of a file"):
        save_json(Path(folder), 1)


def test_a_link_stays_one_and_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    there, link, pipe = (tmp_path / name for name in ("there.json", "link.json", "pipe"))
    save_json(there, 1)
    link.symlink_to(there)
    save_json(link, 2)
    assert link.is_symlink() and load_json(there) == 2
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        save_text(pipe, "told")
        assert os.read(reader, 100) == b"told" and pipe.is_fifo()
    finally:
        os.close(reader)


def test_a_name_that_is_too_long_is_the_machines_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="File name too long"):
        save_json(tmp_path / ("x" * 300), {})


def test_an_error_of_the_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "x") as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def cut_short(path: Path) -> None:
    save_tensors(path, {"x": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-10])


def pickled(path: Path) -> None:
    torch.save({"x": torch.ones(2)}, path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("damage", [cut_short, pickled, empty, folder])
def test_what_is_not_a_checkpoint_is_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "x.safetensors"
    damage(path)
    for load in (load_tensors, load_json):
        with pytest.raises(InputError) as caught:
            load(path)
        assert caught.value.exit_code == 2
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert "train again" in str(caught.value)


@pytest.mark.parametrize("load", [load_tensors, load_json])
def test_an_absent_file_is_named(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match="absent.json does not exist"):
        load(tmp_path / "absent.json")


def test_a_model_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"run/x does not fit .* weight is \[2, 3\] in the file"):
        restore_module(nn.Linear(4, 2, bias=False), {"weight": torch.ones(2, 3)}, "run/x")
    with pytest.raises(InputError, match="bias is absent in the file"):
        restore_module(nn.Linear(3, 2), {"weight": torch.ones(2, 3)}, "run/x")


def test_a_file_of_a_model_of_another_shape_is_named(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", module_tensors(nn.Linear(3, 2)))
    with pytest.raises(InputError, match=r"/x does not fit .* weight is \[2, 3\] in the file"):
        load_module(nn.Linear(4, 2), tmp_path / "x")


def test_frozen_parameters_are_in_the_copy_only_if_asked() -> None:
    module = nn.Linear(3, 2)
    module.weight.requires_grad_(False)
    assert set(module_tensors(module)) == {"bias"}
    assert set(module_tensors(module, frozen=True)) == {"weight", "bias"}


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_goes_on_as_before(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    def step(weight: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()

    def make(value: torch.Tensor) -> tuple[nn.Parameter, torch.optim.Optimizer]:
        weight = nn.Parameter(value.clone())
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {"fused": True}
        return weight, kind([{"params": [weight]}], lr=0.1, **options)

    weight, optimizer = make(torch.arange(5.0))
    for _ in range(3):
        step(weight, optimizer)
    save_tensors(tmp_path / "x", optimizer_tensors(optimizer))
    again, other = make(weight.detach())
    restore_optimizer(other, load_tensors(tmp_path / "x")[0])
    for _ in range(3):
        step(weight, optimizer)
        step(again, other)
    assert torch.equal(weight, again)
