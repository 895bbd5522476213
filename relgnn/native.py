"""C++ kernels that are compiled on first use; where they cannot be, callers use their PyTorch form.

A kernel is one `.cpp` file beside the module that calls it, with `extern "C"` functions that take
plain pointers. It needs no header of PyTorch, so it compiles in a few seconds, once for each
processor and version of the source, into the user's cache folder.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from relgnn.runtime import cache_home, processor_flags

# no -ffast-math: it would let the compiler assume that no feature is NaN
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-shared", "-fPIC")

_enabled = os.environ.get("RELGNN_NATIVE", "1") != "0"


def library(source: Path) -> ctypes.CDLL | None:
    """The compiled kernels of a source file, or None where they are switched off or do not compile.

    `RELGNN_NATIVE=0` switches them off. A failure to compile is told once, as a warning.
    """
    return _load(source) if _enabled else None


@contextmanager
def disabled() -> Iterator[None]:
    """Take the PyTorch form of every kernel within this context."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    """The address of a contiguous CPU tensor's data; the caller keeps the tensor alive."""
    if tensor is None:
        return None
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    return ctypes.c_void_p(tensor.data_ptr())


@functools.cache
def _load(source: Path) -> ctypes.CDLL | None:
    compiler = _compiler()
    if not compiler or shutil.which(compiler[0]) is None:
        return None
    code = source.read_bytes()
    key = hashlib.sha256(b"\0".join([code, *(part.encode() for part in _machine(compiler))]))
    path = cache_home() / "native" / f"{source.stem}-{key.hexdigest()[:16]}.so"
    try:
        if not path.exists():
            _compile(compiler, source, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        first = reason.strip().splitlines()[0] if reason.strip() else "no message"
        warnings.warn(
            f"{source.name} did not compile ({first}); the slower PyTorch form is used. Install "
            "g++ with OpenMP, or set RELGNN_NATIVE=0 to silence this",
            stacklevel=3,
        )
        return None


def _compiler() -> list[str]:
    """CXX or g++, with the flags that CXX may bring; none where CXX cannot be read."""
    given = os.environ.get("CXX") or "g++"
    if shutil.which(given) is not None:  # its path may have spaces
        return [given]
    try:
        return shlex.split(given)
    except ValueError as error:
        warnings.warn(
            f"CXX={given} cannot be read ({error}); the slower PyTorch form is used", stacklevel=4
        )
        return []


def _machine(compiler: Sequence[str]) -> tuple[str, ...]:
    """What the compiled code depends on besides its source."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return (*compiler[1:], *FLAGS, version.stdout, platform.machine(), processor_flags())


def _compile(compiler: Sequence[str], source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside, then renamed: two processes may compile at once
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        command = [*compiler, *FLAGS, str(source), "-o", str(built)]
        subprocess.run(command, capture_output=True, text=True, check=True)
        built.replace(path)
