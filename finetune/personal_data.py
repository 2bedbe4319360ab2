"""Personal data and secrets that a text holds, by their patterns: what has a form of its own, and can be checked.

Numbers with check digits are checked (cards: Luhn, ISO/IEC 7812-1, annex B; accounts: ISO 13616,
modulo 97), so that few order numbers are taken for them. Left out is what belongs to no person:
addresses set aside for examples (RFC 2606), networks of one's own (RFC 1918), free numbers of helplines.
Names and addresses have no form, and are not found.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

FEWEST_DIGITS = 4  # of a number: an address of the internet may have no more
SHORTEST_KEY = 15  # characters

_EMAIL = re.compile(r"(?<![\w.+-])[\w+-]{1,64}(?:\.[\w+-]{1,64}){0,8}@\w[\w-]{0,62}(?:\.\w[\w-]{0,62}){1,6}")
_PHONE = re.compile(
    r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(?\d{1,12}\)?){1,5}(?!\w)"
    r"|(?<![\w.,:/+$€£-])(?:1[ .-])?(?:\(\d{1,4}\)[ .-]?)?\d{2,5}(?:[ .-]\d{2,5}){1,4}(?![\w%/]|[.,:-]\d)"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:[ .]\d{3})+")
_DATE = re.compile(r"\d{4}[ .-]\d{1,2}[ .-]\d{1,2}|\d{1,2}[ .-]\d{1,2}[ .-]\d{4}|(?:1[89]|20)\d\d[ .-](?:1[89]|20)\d\d")
_FREE_NUMBER = re.compile(r"(?:\+?1[ .-]?)?\(?8(?:00|33|44|55|66|77|88)\)?[ .-]|0(?:800|808)[ .-]")
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_IP = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)|(?<![\w:])[0-9a-fA-F]{1,4}(?:::?[0-9a-fA-F]{1,4}){2,7}(?![\w:])"
)
_KEY = re.compile(
    r"(?<![\w-])(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|xox[abprs]-[\w-]{10,}|hf_\w{20,})|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
)


def personal_data(text: str, known: str = "") -> tuple[str, ...]:
    """The kinds of personal data in a text that are not in the text `known`, in the order of KINDS."""
    # Most texts hold next to nothing that a pattern could begin with, and looking for that is quicker.
    kinds = ["e-mail"] if "@" in text else []
    kinds += _OF_DIGITS if sum(map(text.count, "0123456789")) >= FEWEST_DIGITS or "::" in text else []
    kinds += ["key"] if "PRIVATE KEY" in text or max(map(len, text.split()), default=0) >= SHORTEST_KEY else []
    return tuple(kind for kind in kinds if _new(_FINDERS[kind](text), known))


def _new(found: list[str], known: str) -> bool:
    """Whether any is not known, however it is spaced."""
    return bool(found) and not all(_plain(each) in _plain(known) for each in found)


def _plain(text: str) -> str:
    return re.sub(r"[ ().-]", "", text).lower()


def _emails(text: str) -> list[str]:
    return [found for found in _EMAIL.findall(text) if not _is_reserved(found.rpartition("@")[2].lower())]


def _is_reserved(domain: str) -> bool:
    names = domain.split(".")
    return names[-1] in ("example", "test", "invalid", "localhost") or names[-2] == "example"


def _phones(text: str) -> list[str]:
    return [found for found in _PHONE.findall(text) if _is_phone(found)]


def _is_phone(found: str) -> bool:
    digits = sum(character.isdigit() for character in found)
    # Seven digits are a local number only in the one way that those are written.
    whole = 9 <= digits <= 15 or re.fullmatch(r"\d{3}[ .-]\d{4}", found) is not None
    other = _DATE.fullmatch(found) or _THOUSANDS.fullmatch(found) or _FREE_NUMBER.match(found)
    return whole and not other


def _cards(text: str) -> list[str]:
    return [found for found in _CARD.findall(text) if _luhn(re.sub(r"\D", "", found))]


def _luhn(digits: str) -> bool:
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    total = sum(map(int, digits[-1::-2])) + sum(number - 9 if number > 9 else number for number in doubled)
    return total % 10 == 0 and len(set(digits)) > 1


def _accounts(text: str) -> list[str]:
    return [found for found in _IBAN.findall(text) if _checks_out(found.replace(" ", ""))]


def _checks_out(account: str) -> bool:
    turned = account[4:] + account[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def _networks(text: str) -> list[str]:
    return [found for found in _IP.findall(text) if _is_global(found)]


def _is_global(found: str) -> bool:
    try:
        return ipaddress.ip_address(found).is_global
    except ValueError:
        return False


_FINDERS: dict[str, Callable[[str], list[str]]] = {
    "e-mail": _emails,
    "phone": _phones,
    "card number": _cards,
    "account number": _accounts,
    "network address": _networks,
    "key": _KEY.findall,
}
KINDS = tuple(_FINDERS)
_OF_DIGITS = [kind for kind in KINDS if kind not in ("e-mail", "key")]
