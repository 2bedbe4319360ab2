"""Which script and language a text is in, told simply: by the names of its letters, and by common words.

Enough to see that an answer came in another language than was asked in. A text that is short, mixed
or in a language that is not listed here is told to be in none. (Common words as a sign of the
language: Ingle 1976; of the more exact ways, Cavnar and Trenkle 1994 compare n-grams of letters.)
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

FEWEST_LETTERS = 20  # by which a script is told
FEWEST_COMMON = 3  # common words by which a language is told
LONGEST = 400  # characters that are looked at, from the beginning

# Words that are common in one of these languages and hardly stand in the others.
_COMMON = {
    "English": "the and you that was with they this have from what your which would there their of to is been",
    "German": "der das ist nicht ein eine mit auf für dem den und ich auch wie wird haben zu bei oder wenn",
    "French": "le les des est et une pour dans qui pas vous avec sur ce sont nous votre du au je",
    "Spanish": "el los las y del una por con es su como más pero usted está son lo muy al qué",
    "Italian": "il di che è non per sono della si anche gli ma questo lei ho nel alla più essere ti",
    "Portuguese": "os não uma com do da em por mais mas você são seu sua foi ao pelo isso ou também",
    "Dutch": "het een en van ik niet dat op te zijn voor met je aan er maar als ook naar deze",
}
_LANGUAGES: dict[str, tuple[str, ...]] = {
    word: tuple(name for name, listed in _COMMON.items() if word in listed.split())
    for word in " ".join(_COMMON.values()).split()
}


def language(text: str) -> str:
    """The language whose common words a text has most of, by its English name; empty where none stands out."""
    said = re.findall(r"[^\W\d_]+", text[:LONGEST].lower())
    counts = Counter(name for word in said for name in _LANGUAGES.get(word, ()))
    (name, most), (_, next_) = [*counts.most_common(2), ("", 0), ("", 0)][:2]
    return name if most >= FEWEST_COMMON and most >= 2 * next_ else ""


def script(text: str) -> str:
    """The script of most of a text's letters, as in Unicode's names of them; empty where there are few letters."""
    counts = Counter[str]()
    for letter, times in Counter(filter(str.isalpha, text[:LONGEST])).items():
        counts[_script_of(letter)] += times
    name, most = counts.most_common(1)[0] if counts else ("", 0)
    return name if counts.total() >= FEWEST_LETTERS and 2 * most > counts.total() else ""


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    if letter.isascii():
        return "LATIN"
    name = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA") else name
