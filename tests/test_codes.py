"""One-time codes: right, once, in time, and of the right person."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError
from prefect_ratify.flows.codes import _judge, enroll, is_enrolled, why_refused

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATIFY_PRIVATE", str(tmp_path / "private"))
    return tmp_path / "private"


@pytest.fixture
def ada() -> pyotp.TOTP:
    parsed = pyotp.parse_uri(enroll("Ada"))
    assert isinstance(parsed, pyotp.TOTP)
    return parsed


def later(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_right_code_counts_once(ada: pyotp.TOTP) -> None:
    assert why_refused("Ada", ada.at(NOW), NOW, "form 1") == ""
    assert "used before" in why_refused("Ada", ada.at(NOW), later(5), "form 2")
    assert why_refused("ada", ada.at(later(60)), later(60), "form 3") == "", "names in any case"
    assert "used before" in why_refused("Ada", ada.at(later(30)), later(60), "form 4"), "nor an older one after it"


def test_the_same_answer_read_again_after_a_crash_still_counts(ada: pyotp.TOTP) -> None:
    assert why_refused("Ada", ada.at(NOW), NOW, "form 1") == ""
    assert why_refused("Ada", ada.at(NOW), NOW, "form 1") == ""


@pytest.mark.parametrize(("seconds", "counts"), [(-61, False), (-30, True), (0, True), (30, True), (61, False)])
def test_a_code_is_good_for_one_step_to_either_side(ada: pyotp.TOTP, seconds: int, counts: bool) -> None:
    assert (why_refused("Ada", ada.at(NOW), later(seconds), "form") == "") == counts


def test_wrong_codes_do_not_count_and_after_five_no_code_does_for_a_while(ada: pyotp.TOTP) -> None:
    right = ada.at(NOW)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"
    for number in range(5):
        assert "wrong or too old" in why_refused("Ada", wrong, later(180 * (number - 4)), f"form {number}")
    assert "too many wrong codes; answers count again from 05:21 UTC" in why_refused("Ada", right, NOW, "form 5")
    assert "too many" in why_refused("Ada", ada.at(later(890)), later(890), "form 6")
    assert why_refused("Ada", ada.at(later(901)), later(901), "form 7") == ""


def test_one_persons_code_is_not_anothers(ada: pyotp.TOTP) -> None:
    enroll("Ben")
    assert "wrong" in why_refused("Ben", ada.at(NOW), NOW, "form")
    assert "has no codes" in why_refused("Cy", ada.at(NOW), NOW, "form")


@given(st.text(max_size=8))
def test_nothing_but_the_code_is_the_code(text: str) -> None:
    codes = {pyotp.TOTP("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").at(later(step)) for step in (-30, 0, 30)}
    reason, _ = _judge("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", text, NOW, "form", {"step": 0, "asked": "", "wrong": []})
    assert (reason == "") == (text in codes)


def test_enrolling_again_is_refused_unless_asked_for(ada: pyotp.TOTP) -> None:
    with pytest.raises(InputError, match="enrolled already"):
        enroll(" ada ")
    enroll("Ada", replace=True)
    assert "wrong" in why_refused("Ada", ada.at(NOW), NOW, "form"), "the old codes stop working"


def test_seeds_are_for_their_user_alone(ada: pyotp.TOTP, own_folder: Path) -> None:
    assert is_enrolled("ADA") and not is_enrolled("Ben")
    why_refused("Ada", "000000", NOW, "form")
    for name in ("seeds.json", "used.json"):
        assert stat.S_IMODE((own_folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(own_folder.stat().st_mode) == 0o700
    assert ada.secret in (own_folder / "seeds.json").read_text()
    assert ada.secret not in (own_folder / "used.json").read_text()


def test_the_command_prints_a_qr_code_and_writes_a_picture(
    tmp_path: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "ada.png"
    assert main(["enroll", "Ada", "--png", str(picture)]) == 0
    output = capsys.readouterr().out
    assert "█" in output and "scan this" in output
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_mode & 0o077 == 0
    assert main(["enroll", "ada"]) == 2
    assert "enrolled already" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_leaves_no_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enroll", "Kim", "--png", str(tmp_path / "nowhere" / "kim.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err and not is_enrolled("Kim")
    assert main(["enroll", "Kim", "--png", str(tmp_path / "kim")]) == 0, "whatever its name"
