"""Files that are whole or absent: tensors as safetensors, the rest as JSON, never pickle."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from relgnn.errors import InputError, MachineError

# The one key of the safetensors header under which our JSON lies; foreign files lack it.
METADATA_KEY = "relgnn"

CHECKPOINT = "checkpoint.safetensors"
"""The trained weights in a run folder, or in the folder of a round or of a control."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it once the block has ended well.

    A device or a pipe is written as it is.

    Args:
        path: the file to write; its folder is made if absent.

    Yields:
        The path to write to, in the same folder.

    Raises:
        MachineError: when the disk is full or the folder cannot be written; `path` stays as it was.
        InputError: `path` is that of a folder.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    beside = path.parent / f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        require_file_name(path)
        if path.exists() and not path.is_file():  # a device or a pipe is not to be replaced
            yield path
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        sync(beside)
        os.replace(beside, path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise MachineError(_write_failure(path, error)) from error
    finally:
        _remove(beside)


def require_file_name(path: Path) -> None:
    """Refuse a folder in place of a file to write.

    Raises:
        InputError: it is one.
    """
    if not path.name or path.is_dir():
        raise InputError(f"{path}: is a folder; give the path of a file in it")


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write named tensors and JSON metadata to one safetensors file, atomically.

    Args:
        path: the file.
        tensors: name to tensor of any shape, dtype and device; views and tensors that share memory
            are written as separate copies.
        metadata: anything JSON can hold; kept in the file's header.

    Raises:
        MachineError: when the file cannot be written; an older file stays as it was.
    """
    header = {METADATA_KEY: json.dumps(dict(metadata or {}))}
    with atomic_file(path) as beside:
        save_file(_separate(tensors), beside, metadata=header)


def load_tensors(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Args:
        path: the file.
        device: where the tensors are put.

    Returns:
        The tensors by name, and the metadata (empty for a file of another program).

    Raises:
        InputError: when the file is absent, cut short, or not safetensors (one by `torch.save`).
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            header = file.metadata() or {}
        return tensors, dict(json.loads(header.get(METADATA_KEY, "{}")))
    except FileNotFoundError as error:
        raise InputError(_absent(path)) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(_unreadable(path, "a safetensors file", error)) from error


def save_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically.

    Raises:
        MachineError: when the file cannot be written; an older file stays as it was.
    """
    with atomic_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def save_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; raises as `save_text`."""
    save_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def save_json_lines(path: Path, entries: Iterable[Any]) -> None:
    """Write values as JSON, one a line, atomically; raises as `save_text`.

    Args:
        path: the file.
        entries: may be made while the file is written, which stays absent if that fails.
    """
    with atomic_file(path) as beside, beside.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: when the file is absent or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(_absent(path)) from error
    except (OSError, ValueError) as error:
        raise InputError(_unreadable(path, "JSON", error)) from error


def module_tensors(module: nn.Module, frozen: bool = False) -> dict[str, Tensor]:
    """Copy a module's parameters and persistent buffers.

    Args:
        module: any module.
        frozen: also those parameters that are not trained.

    Returns:
        Name to a detached copy on the same device.
    """
    return {name: value.clone() for name, value in _named(module, frozen).items()}


def restore_module(
    module: nn.Module, tensors: Mapping[str, Tensor], source: Path | str, frozen: bool = False
) -> None:
    """Put back what `module_tensors` copied.

    Args:
        module: the module to change in place.
        tensors: name to tensor.
        source: where the tensors come from, for the error.
        frozen: as given to `module_tensors`.

    Raises:
        InputError: when names or shapes are not those of the module.
    """
    expected = {name: value.shape for name, value in _named(module, frozen).items()}
    given = {name: value.shape for name, value in tensors.items()}
    wrong = sorted(
        name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name)
    )
    if wrong:
        name = wrong[0]
        raise InputError(
            f"{source} does not fit the model ({len(wrong)} tensors differ): {name} is "
            f"{_shape(given.get(name))} in the file and {_shape(expected.get(name))} in the model; "
            "use the configuration and data it was trained with"
        )
    module.load_state_dict(dict(tensors), strict=False)


def load_module(module: nn.Module, path: Path, frozen: bool = False) -> None:
    """Put into a module what `module_tensors` copied and `save_tensors` wrote.

    Args:
        module: the module to change in place.
        path: the file.
        frozen: as given to `module_tensors`.

    Raises:
        InputError: when the file is absent or damaged, or does not fit the module.
    """
    restore_module(module, load_tensors(path)[0], path, frozen)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copy an optimizer's tensor state as `<parameter position>/<name>`.

    Hyper-parameters are not in it: whoever rebuilds the optimizer gives them again.
    """
    return {
        f"{position}/{name}": value.detach().clone()
        for position, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` copied into an optimizer over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        position, name = key.split("/", 1)
        state.setdefault(int(position), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _named(module: nn.Module, frozen: bool) -> dict[str, Tensor]:
    """The module's own tensors, of which the frozen parameters may be left out."""
    named = module.named_parameters(remove_duplicate=False)
    left_out = set() if frozen else {name for name, value in named if not value.requires_grad}
    return {name: v.detach() for name, v in module.state_dict().items() if name not in left_out}


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors of which no two share memory, as safetensors asks."""
    seen: set[int] = set()
    result = {}
    for name, value in tensors.items():
        flat = value.detach().cpu().contiguous()
        storage = flat.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != flat.nbytes:
            flat = flat.clone()
        seen.add(flat.untyped_storage().data_ptr())
        result[name] = flat
    return result


def sync(path: Path) -> None:
    """Return when a file, or what a folder lists, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    # The folder itself may be what is wrong: the first error is the one to report.
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _write_failure(path: Path, error: Exception) -> str:
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if full or f"os error {errno.ENOSPC}" in str(error):
        return (
            f"cannot write {path}: no space left on the disk; free some or choose another folder "
            "(an older file of that name is untouched)"
        )
    reason = getattr(error, "strerror", None) or _one_line(error)
    return f"cannot write {path}: {reason}; check the folder's rights or choose another one"


def _absent(path: Path) -> str:
    return f"{path} does not exist; check the run folder's path, or train the run again"


def _unreadable(path: Path, expected: str, error: Exception) -> str:
    return (
        f"{path} cannot be read as {expected} ({_one_line(error)}); it is damaged or was written "
        "by another program: restore it from a copy, or delete it and train again"
    )


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(list(shape))
