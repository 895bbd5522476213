"""Progress is a bar on a terminal, lines elsewhere, and changes nothing that passes through it."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from relgnn.training import progress
from relgnn.training.progress import _SCREEN, bar, named_lines, quiet_bars, track


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture()
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    screen = Terminal()
    # sys.stderr itself is set anew by pytest when the test starts
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=screen))
    return screen


def draw() -> None:
    """What the display's clock does a few times a second."""
    assert _SCREEN.display is not None
    _SCREEN.display.refresh()


def test_where_there_is_no_terminal_lines_tell_of_what_takes_long(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(track(range(3), "counting")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert list(track(range(2), "counting")) == [0, 1]
    with bar("reading") as shown:
        shown.advance(1500, "reading on")
    lines = ["counting: 1 of 2 after 0 s", "counting: 2 of 2 after 0 s"]
    assert capfd.readouterr().err.splitlines() == [*lines, "reading on: 1,500 after 0 s"]
    list(track(range(3), "counting", quiet=True))
    with quiet_bars():
        list(track(range(3), "counting"))
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_the_words_and_how_far(terminal: Terminal) -> None:
    for item in track([1, 2, 3], "counting"):
        draw()
        assert f"{item - 1}/3" in terminal.getvalue()
    assert "counting" in terminal.getvalue()


def test_beside_other_processes_lines_have_a_name(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with named_lines("rgcn-10-0"):
        list(track(range(1), "counting"))
    assert terminal.getvalue() == "rgcn-10-0: counting: 1 of 1 after 0 s\n"
    assert _SCREEN.name is None


def test_quiet_is_quiet(terminal: Terminal) -> None:
    list(track(range(3), "counting", quiet=True))
    with quiet_bars():
        list(track(range(3), "counting"))
    assert terminal.getvalue() == ""


def test_quiet_ends_with_its_block(terminal: Terminal) -> None:
    with pytest.raises(KeyboardInterrupt), quiet_bars():
        raise KeyboardInterrupt
    with quiet_bars():
        with quiet_bars(False):
            list(track([1], "inside"))
        list(track([1], "outside"))
    assert "inside" in terminal.getvalue() and "outside" not in terminal.getvalue()
    list(track([1], "after"))
    assert "after" in terminal.getvalue()


def test_bars_nest_and_change_their_words(terminal: Terminal) -> None:
    with bar("outer", total=2) as outer:
        for _ in track(iter(range(2)), "inner", total=2):
            outer.advance(1, "outer now")
            draw()
    assert "outer now" in terminal.getvalue() and "inner" in terminal.getvalue()
    with bar("again", total=1) as again:
        again.advance()
    assert "again" in terminal.getvalue()


def test_an_iteration_that_is_left_takes_its_bar_away(terminal: Terminal) -> None:
    items = track(range(3), "counting")
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    terminal.truncate(0)
    with bar("next", total=1):
        pass
    assert "counting" not in terminal.getvalue()
