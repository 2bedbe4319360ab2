"""Whether two names are one person's."""

from __future__ import annotations

import unicodedata


def name_key(name: str) -> str:
    """What two spellings of one name have in common, whatever their case and their accents' encoding."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
