"""File names in a code page that nobody names: which one they are in is told by the letters that it makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Syllables of which every Korean text holds many. All of KS X 1001 has 2,350, and as many Chinese letters have their
# codes: by its codes alone, Chinese is often Korean.
SYLLABLES = frozenset(
    "이다에의는로하을가고지서한은기으년대사시를리도인스일자나어정전제수부해상구보주장원동조성신공관산화경비오무마우미아소연안유위영중개물국문방선세실"
    "여용음적진차체출통파걷달뛰춤추요점프"
)
SAMPLE_BYTES = 16 * 2**10  # tell as much as all of them
LEAST = 0.8  # of the letters must be such as are usual in the language


@dataclass(frozen=True)
class _Page:
    """A code page of Windows or DOS, as its users call what is written in it, and which letters are usual there."""

    codec: str
    language: str
    is_usual: Callable[[str], bool]
    least: float = LEAST


def _lead(codec: str, first: int, last: int) -> Callable[[str], bool]:
    """Letters that a two-byte code has in these rows, which hold the usual ones."""

    def is_usual(letter: str) -> bool:
        code = letter.encode(codec, "ignore")
        return len(code) == 2 and first <= code[0] <= last

    return is_usual


def _is_japanese(letter: str) -> bool:
    # Kana of full width, signs of repetition, and kanji of the first level of JIS X 0208.
    return "\u3041" <= letter <= "\u30fe" or letter == "々" or _lead("cp932", 0x88, 0x97)(letter)


PAGES = (
    _Page("cp932", "Japanese", _is_japanese),
    _Page("cp949", "Korean", SYLLABLES.__contains__, 1 / 3),
    _Page("gbk", "Chinese", _lead("gb2312", 0xB0, 0xD7)),
    _Page("cp950", "traditional Chinese", _lead("cp950", 0xA4, 0xC6)),
)
WESTERN = "cp850", "Western European"


def guess(names: Sequence[bytes]) -> tuple[str, str] | None:
    """The codec that names of one origin are in, and the language that speaks for it.

    Windows packs zips in the code page of its console, and tells nobody which. What is tried are those of Western
    Europe, Japan, China, Taiwan and Korea. (Greek, Russian and Hebrew are made of the same bytes as each other.)

    Args:
        names: those that are not UTF-8, each with letters beyond ASCII; the more, the surer.

    Returns:
        (codec, language), or None where no page makes words of them.
    """
    text = b""
    for name in names:
        if len(text) < SAMPLE_BYTES:
            text += name + b"\n"
    western = text.decode(WESTERN[0])
    if _are_words(western, 1 / 2):  # else they may be halves of two-byte codes
        return WESTERN
    shares = {page: _share(text, page) for page in PAGES}
    best = max(PAGES, key=lambda page: shares[page] / page.least)
    if shares[best] >= best.least:
        return best.codec, best.language
    return WESTERN if _are_words(western, 1 / 3) else None


def _share(text: bytes, page: _Page) -> float:
    """How many of the letters beyond ASCII are usual ones."""
    try:
        letters = [letter for letter in text.decode(page.codec) if not letter.isascii()]
    except UnicodeDecodeError:
        return 0.0
    return sum(map(page.is_usual, letters)) / max(1, len(letters))


def _are_words(text: str, least: float) -> bool:
    """Whether all that is beyond ASCII are letters and signs of Western keyboards, so many of a word's letters have no
    accents, no capital stands behind a small letter, and no sign beside a letter."""
    words = [word for word in re.findall(r"[^\W\d_]+", text) if not word.isascii()]
    letters = "".join(words)
    is_western = all(letter.isascii() or "\xa0" <= letter <= "\xff" for letter in text)
    is_odd = any(a.islower() and b.isupper() for word in words for a, b in pairwise(word))
    has_halves = re.search(r"[^\W\d_][\xa0-\xbf×÷]|[\xa0-\xbf×÷][^\W\d_]", text)
    return is_western and not is_odd and not has_halves and sum(map(str.isascii, letters)) >= least * len(letters)
