"""Where umap is installed read-only, as in a container, numba gets another place for what it compiles."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from vjepa_demo.references import map as laid_out


@pytest.fixture(autouse=True)
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that cannot be written to, and the app's cache beside it."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "umap" not in str(path) and access(path, mode))
    cache = tmp_path / "cache"
    monkeypatch.setattr(laid_out, "settings", replace(laid_out.settings, cache_dir=str(cache)))
    return cache


def place() -> str:
    laid_out._let_numba_cache()
    return os.environ.get("NUMBA_CACHE_DIR", "")


def test_it_is_in_the_cache(read_only: Path) -> None:
    assert place() == str(read_only / "numba")
    (read_only / "numba" / "a file").touch()


def test_it_is_among_the_temporary_files_where_the_cache_cannot_be_written(read_only: Path) -> None:
    read_only.write_text("a file where the folder would be")
    found = Path(place())
    assert read_only not in found.parents
    (found / "a file").touch()


def test_one_that_was_named_is_kept(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/named")
    assert place() == "/named"


def test_an_installation_that_can_be_written_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert place() == ""
