"""The ogb package, imported without what it would do besides: ask the network, load PyG and DGL."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from relgnn.runtime import optional_import

_NOT_NEEDED = ("outdated", "torch_geometric", "dgl")


def ogb_module(name: str) -> ModuleType:
    """A module of ogb.

    Args:
        name: such as "ogb.linkproppred".

    Raises:
        InputError: ogb is not installed.
    """
    # `outdated` would start a thread that asks the network for a newer version; the graph libraries
    # take seconds to load, for data sets in their own forms
    hidden = [one for one in _NOT_NEEDED if one not in sys.modules]
    for one in hidden:
        sys.modules[one] = None  # type: ignore[assignment]
    try:
        with optional_import("ogb"):
            return importlib.import_module(name)
    finally:
        for one in hidden:
            del sys.modules[one]
