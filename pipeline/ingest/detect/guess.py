"""Guess of an encoding that is not UTF-8, with charset-normalizer and the alphabets of European languages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

_SYNTAX = re.compile(rb"[\0-/:-?]+")
"""ASCII characters that are never the second half of a character, without digits."""

_ASCII = bytes(range(128))
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_GUESS_BYTES = 1 << 16
_CANDIDATES = {
    "cp1252": 0.05,
    "cp1250": 0.0,
    "cp1251": 0.0,
    "cp1253": 0.0,
    "cp1254": 0.0,
    "cp1255": 0.0,
    "cp1256": 0.0,
    "cp1257": -0.05,
    "cp874": 0.0,
    "cp932": 0.0,
    "euc_jp": 0.0,
    "cp949": 0.0,
    "gb18030": 0.0,
    "big5": 0.0,
    "koi8_r": 0.0,
    "iso8859_2": -0.02,
    "iso8859_5": -0.02,
    "mac_roman": -0.02,
    "cp866": -0.02,
    "cp850": -0.02,
}
"""Encodings that are guessed, with an addition to the score: common ones win if the text fits several."""

_ALPHABETS = (
    "äöüß",
    "àâçéèêëîïôùûœæ",
    "áéíñóúü",
    "áâãàçéêíóôõúü",
    "àèéìòù",
    "åäöæøé",
    "áðéíóúýþæö",
    "ąćęłńóśźż",
    "áčďéěíňóřšťúůýžľĺŕôä",
    "áéíóöőúüű",
    "ăâîșțşţ",
    "çğıöşüâîi\u0307",
    "čćđšž",
    "ąčęėįšųūžāēģīķļņõäöü",
)
"""Lowercase letters beyond a to z of German, French, Spanish, Portuguese, Italian, the Nordic languages,
Icelandic, Polish, Czech and Slovak, Hungarian, Romanian, Turkish, Croatian, the Baltic languages."""

_PUNCTUATION = frozenset("‘’“”„‚«»–—…•·€£¥°©®™¿¡×½\xa0´`")
_KANA_SCORE = 0.2
_UPPERCASE_SCORE = -0.3


def guess_encoding(head: bytes) -> str | None:
    """The encoding that fits best the lines that are not ASCII; None if none does."""
    from charset_normalizer import from_bytes

    is_latin, sample = _words(head)
    matches = [m for m in from_bytes(sample, cp_isolation=list(_CANDIDATES)) if m.encoding in _CANDIDATES]
    if not matches:
        return None
    best = max(matches, key=lambda match: _score(match, is_latin=is_latin))
    # The text is the same in all of these.
    names = [name for name in _CANDIDATES if name in best.could_be_from_charset]
    return max(names, key=lambda name: _CANDIDATES[name])


def _words(head: bytes) -> tuple[bool, bytes]:
    """Whether the script is Latin, and words of the lines that are not ASCII.

    In other scripts, words in ASCII are left out: names of fields would be taken for English text.
    """
    complete = head[: head.rfind(b"\n") + 1] or head
    lines: list[bytes] = []
    size = 0
    for line in complete.split(b"\n"):
        if not line.isascii() and size < _GUESS_BYTES:
            lines.append(b" ".join(_SYNTAX.split(line)))
            size += len(line)
    text = b"\n".join(lines)
    is_latin = 4 * len(text.translate(None, _ASCII)) < len(text)
    if not is_latin:
        text = b" ".join(word for word in text.split() if not word.isascii())
    return is_latin, text


def _score(match: CharsetMatch, *, is_latin: bool) -> float:
    text = str(match)
    prior = max(_CANDIDATES.get(name, -1.0) for name in match.could_be_from_charset)
    score = match.coherence - match.chaos + prior
    if is_latin:
        return score + _alphabet_frac(text)
    if len(_KANA.findall(text)) > len(text) // 20:
        score += _KANA_SCORE
    if 2 * sum(c.isupper() for c in text) > sum(c.isupper() or c.islower() for c in text):
        score += _UPPERCASE_SCORE
    return score


def _alphabet_frac(text: str) -> float:
    """Share of the characters beyond ASCII that are punctuation, or letters of the best fitting language."""
    others = [c for c in text.lower() if not c.isascii()]
    rest = [c for c in others if c not in _PUNCTUATION]
    known = max(sum(c in alphabet for c in rest) for alphabet in _ALPHABETS)
    return (len(others) - len(rest) + known) / max(1, len(others))
