"""What stands in the log: no name of a visitor's file, no line that a visitor could have written, nothing for ever."""

from __future__ import annotations

import logging
import sys

import pytest

from vjepa_demo import logs, scratch


def record(message: str, *values: object, level: int = logging.WARNING, error: bool = False) -> logging.LogRecord:
    return logging.LogRecord("x", level, "", 0, message, values, sys.exc_info() if error else None)


def failed(where: int, words: str = "it failed") -> logging.LogRecord:
    try:
        if where == 1:
            raise ValueError(words)
        raise ValueError(words)
    except ValueError:
        return record("an event failed", level=logging.ERROR, error=True)


def written(entry: logging.LogRecord) -> str:
    return logs.Discreet("%(levelname)s %(message)s").format(entry)


def test_what_visitors_called_their_files_is_left_out(tmp_path, monkeypatch):
    path = scratch.folder("uploads") / "a" / "my holiday.mp4"
    text = written(record("no such file: '%s', gone", path))
    assert "holiday" not in text
    assert text.endswith("', gone")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_line_and_no_escape_code_can_be_forged(end):
    forged = f"x{end}WARNING all is well\x1b[2J\x07\x9b"
    for entry in (record("told: %s", forged), failed(1, forged)):
        lines = written(entry).split("\n")
        assert not any(line.startswith("WARNING all") for line in lines)
        assert all(line.isprintable() for line in lines)
        assert all(line.startswith("| ") for line in lines[1:])


def test_letters_that_cannot_be_written_are_escaped():
    written(record("told: %s", "\ud800")).encode()


def test_an_error_from_one_place_is_told_once_in_a_while():
    now = [0.0]
    sparse = logs.Sparse(60, lambda: now[0])
    assert [sparse.filter(failed(1, str(number))) for number in range(4)] == [True, False, False, False]
    assert sparse.filter(failed(2)), "from another place"
    assert [sparse.filter(record("%d", 3, level=logging.ERROR)) for _ in range(2)] == [True, False]
    assert all(sparse.filter(record("a warning")) for _ in range(3))
    now[0] = 61
    later = failed(1)
    assert sparse.filter(later)
    assert "3 times more" in written(later)


def test_the_places_that_are_remembered_are_bounded():
    sparse = logs.Sparse()
    for number in range(2 * logs.REMEMBERED):
        sparse.filter(record(f"error {number}", level=logging.ERROR))
    assert len(sparse._told) == logs.REMEMBERED
