"""One-time codes: how a person proves at a gate who they are.

Prefect knows no users, and what is typed into its forms lies in its database as plain text. So
a person proves themselves with something worthless once used: a time-based one-time code (RFC
6238: six digits, thirty seconds) of an authenticator app. The seeds lie in this worker's
private folder, and nowhere else.

A code counts where it was right when the server got it, one step early or late (RFC 6238,
section 5.2), and once. After five wrong codes with no right one between, a person's answers do
not count for a quarter of an hour (RFC 4226, section 7.3).
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
from filelock import FileLock

from prefect_ratify.errors import InputError
from prefect_ratify.names import name_key
from prefect_ratify.store import private_folder, read_json, write_private

ISSUER = "prefect-ratify"
STEP_SECONDS = 30
MOST_WRONG = 5
LOCKED_FOR = timedelta(minutes=15)


def enroll(name: str, *, replace: bool = False) -> str:
    """Make a seed for a person; returns the otpauth:// address that authenticator apps read.

    InputError where the person has one already and `replace` is not given.
    """
    name = " ".join(name.split())
    if not name:
        raise InputError("a name is needed", "ratify enroll NAME")
    with _locked():
        seeds = _read("seeds.json")
        if name_key(name) in seeds and not replace:
            raise InputError(f"{name} is enrolled already", "with --replace the old codes stop working")
        seed = pyotp.random_base32()
        write_private(private_folder() / "seeds.json", {**seeds, name_key(name): seed})
        used = {key: own for key, own in _read("used.json").items() if key != name_key(name)}
        write_private(private_folder() / "used.json", used)  # of the old seed
    return pyotp.TOTP(seed).provisioning_uri(name=name, issuer_name=ISSUER)


def is_enrolled(name: str) -> bool:
    """Whether this worker can check a person's codes."""
    return name_key(name) in _read("seeds.json")


def why_refused(name: str, code: str, at: datetime, asked: str) -> str:
    """Use up a code that was given at a time in answer to a form; why it does not count, or ''.

    The same form's answer may be checked again: after a crash it is read a second time.
    """
    with _locked():
        seed = _read("seeds.json").get(name_key(name))
        if seed is None:
            return f"{name} has no codes on this worker; run there: ratify enroll {name}"
        everyone = _read("used.json")
        own = everyone.get(name_key(name), {"step": 0, "asked": "", "wrong": []})
        reason, own = _judge(seed, code, at, asked, own)
        write_private(private_folder() / "used.json", {**everyone, name_key(name): own})
    return reason


def _judge(seed: str, code: str, at: datetime, asked: str, own: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    wrong = own["wrong"]
    if len(wrong) >= MOST_WRONG:
        until = datetime.fromisoformat(wrong[-1]) + LOCKED_FOR
        if at < until:
            return f"too many wrong codes; answers count again from {until:%H:%M} UTC", own
        wrong = []
    now = int(at.timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(seed)
    right = [s for s in (now - 1, now, now + 1) if hmac.compare_digest(totp.generate_otp(s).encode(), code.encode())]
    if not right:
        return "the code was wrong or too old", {**own, "wrong": [*wrong, at.isoformat()]}
    step = max(right)
    if step <= own["step"] and asked != own["asked"]:
        return "that code was used before; wait for the next one", own
    return "", {"step": step, "asked": asked, "wrong": []}


def _locked() -> FileLock:
    return FileLock(private_folder() / ".lock", mode=0o600)


def _read(name: str) -> dict[str, Any]:
    path: Path = private_folder() / name
    return read_json(path) if path.exists() else {}
