"""One thread for models this small."""

from __future__ import annotations

from tests.linkpred import toy

one_thread = toy.one_thread
