"""The stores: no call is paid for twice, and files are whole or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from prefect_ratify.call_store import CallStore
from prefect_ratify.command_line import main
from prefect_ratify.errors import InputError, RatifyError
from prefect_ratify.language_models import TokenCounter
from prefect_ratify.records import Call, Completion, Message, Policy, Sampling, WorkedExample
from prefect_ratify.store import (
    read_json,
    read_record,
    read_records,
    require_writable,
    write_for_people,
    write_json,
    write_record,
    write_records,
    write_text,
)
from tests.fake_models import FakeModel


def call(text: str, seed: int = 0, **sampling: Any) -> Call:
    return Call(messages=(Message(role="user", content=text),), sampling=Sampling(**sampling), seed=seed)


def echo(asked: Call) -> str:
    return f"{asked.messages[0].content} {asked.seed}"


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "new" / "calls.sqlite")


def test_nothing_is_asked_twice(store: CallStore) -> None:
    model = FakeModel(echo)
    calls = [call("a"), call("b")]
    assert texts(store.complete(model, calls)) == ["a 0", "b 0"]
    assert texts(store.complete(model, calls)) == ["a 0", "b 0"]
    assert texts(store.complete(model, [call("c"), *calls])) == ["c 0", "a 0", "b 0"]
    assert model.asked == [call("a"), call("b"), call("c")]


def test_answers_outlive_the_store_object(store: CallStore) -> None:
    cut = Completion(text="cut", finished=False)
    store.complete(FakeModel(lambda _: cut), [call("a")])
    again = FakeModel(echo)
    assert CallStore(store.path).complete(again, [call("a")]) == [cut]
    assert again.asked == []


@pytest.mark.parametrize(
    "other",
    [
        call("a", seed=1),
        call("a", temperature=0.1),
        call("a", max_tokens=7),
        call("a", min_p=0.2),
        call("a").model_copy(update={"prefill": "Well"}),
        call("a").model_copy(update={"messages": (Message(role="system", content="a"),)}),
    ],
)
def test_whatever_changes_in_a_call_asks_again(store: CallStore, other: Call) -> None:
    model = FakeModel(echo)
    store.complete(model, [call("a")])
    store.complete(model, [other])
    assert model.asked == [call("a"), other]


def test_other_weights_are_asked_again_and_another_name_is_not(store: CallStore) -> None:
    first, same, other = FakeModel(echo), FakeModel(echo, name="renamed"), FakeModel(echo, digest="other weights")
    for model in (first, same, other):
        store.complete(model, [call("a")])
    assert [len(model.asked) for model in (first, same, other)] == [1, 0, 1]


def test_identical_calls_in_one_list_are_asked_once(store: CallStore) -> None:
    model = FakeModel(echo)
    assert texts(store.complete(model, [call("a"), call("b"), call("a"), call("a", seed=3)])) == [
        "a 0",
        "b 0",
        "a 0",
        "a 3",
    ]
    assert len(model.asked) == 3


def test_the_order_of_calls_is_kept_whatever_order_answers_come_in(store: CallStore) -> None:
    class Backwards(FakeModel):
        def complete(self, calls: Sequence[Call], meter: TokenCounter) -> Iterator[tuple[int, Completion]]:
            yield from reversed(list(super().complete(calls, meter)))

    calls = [call(letter) for letter in "badc"]
    assert texts(store.complete(Backwards(echo), calls)) == ["b 0", "a 0", "d 0", "c 0"]
    assert texts(store.complete(FakeModel(echo), calls)) == ["b 0", "a 0", "d 0", "c 0"]


def test_failures_are_given_and_not_kept(store: CallStore) -> None:
    failing: Callable[[Call], Completion | str] = lambda asked: (  # noqa: E731
        Completion(error="TimeoutError", finished=False) if asked.messages[0].content == "b" else "fine"
    )
    model = FakeModel(failing)
    calls = [call("a"), call("b")]
    assert [c.error for c in store.complete(model, calls)] == ["", "TimeoutError"]
    assert texts(store.complete(FakeModel(echo), calls)) == ["fine", "b 0"]


class Terminated(BaseException):
    """What Prefect raises in the main thread when a run is to end."""


@pytest.mark.parametrize("end", [KeyboardInterrupt, Terminated])
def test_what_came_before_a_crash_is_kept(store: CallStore, end: type[BaseException]) -> None:
    def crash(asked: Call) -> str:
        if asked.messages[0].content == "c":
            raise end
        return echo(asked)

    calls = [call(letter) for letter in "abcd"]
    with pytest.raises(end):
        store.complete(FakeModel(crash), calls)
    model = FakeModel(echo)
    assert texts(store.complete(model, calls)) == ["a 0", "b 0", "c 0", "d 0"]
    assert model.asked == [call("c"), call("d")]


def test_an_empty_list_of_calls_asks_nothing(store: CallStore) -> None:
    model = FakeModel(echo)
    assert store.complete(model, []) == []
    assert model.asked == []


RECORDS = [Message(role="user", content="line\nline \u2028 “é” \x85 end"), Message(role="assistant", content="")]


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "records.jsonl"
    plain = [Message(role="user", content='line\nline "é" \\ end'), Message(role="assistant", content="")]
    write_records(path, plain)
    assert read_records(path, Message) == plain
    assert len(path.read_text(encoding="utf-8").split("\n")) == 3
    write_records(path, [])
    assert read_records(path, Message) == []


def test_unusual_line_ends_in_a_text_do_not_break_the_records(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", RECORDS)
    assert read_records(tmp_path / "records.jsonl", Message) == RECORDS


def test_one_record_and_a_json_value_come_back(tmp_path: Path) -> None:
    example = WorkedExample(query="é", sentence="“s”\n")
    write_record(tmp_path / "record.json", example)
    assert read_record(tmp_path / "record.json", WorkedExample) == example
    write_json(tmp_path / "value.json", {"a": [1, None, "é"]})
    assert read_json(tmp_path / "value.json") == {"a": [1, None, "é"]}
    assert "é" in (tmp_path / "value.json").read_text(encoding="utf-8")


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "new")]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_text(tmp_path / "a.txt", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("calibrate", ["--markdown"]),
        ("attack", ["--markdown"]),
        ("variants", ["--markdown"]),
        ("variants", ["--html"]),
        ("regress", ["draft", "--against", "base", "--markdown"]),
        ("regress", ["draft", "--against", "base", "--html"]),
    ],
)
def test_a_report_that_cannot_be_written_is_said_before_anything_is_asked(
    tmp_path: Path, name: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for target, seen in ((tmp_path, "this is a folder"), (tmp_path / "gone" / "r", "there is no such folder")):
        # There is no such project either: what is wrong with the report is found first.
        assert main([name, str(tmp_path / "none"), *options, str(target)]) == 2
        said = capsys.readouterr()
        assert seen in said.err and said.err.count("\n") == 1 and not said.out
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_fails_all_the_same_is_one_line(tmp_path: Path) -> None:
    require_writable(None, tmp_path / "report.md")
    with pytest.raises(InputError, match="the report cannot be written"):
        write_for_people(tmp_path, "text")
    assert list(tmp_path.iterdir()) == [] and not list(tmp_path.parent.glob(".*.part"))


@pytest.mark.parametrize("content", [None, "", "{", "[1]\n{\n", '{"role": "user"}\n', "\x00"])
def test_missing_and_broken_files_are_one_line_of_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    if content != "":
        with pytest.raises(RatifyError) as caught:
            read_records(path, Message)
        assert str(caught.value).startswith(f"{path}: cannot be read")
        assert "\n" not in str(caught.value)
    if content != '{"role": "user"}\n':
        with pytest.raises(RatifyError) as caught:
            read_json(path)
        assert str(caught.value).startswith(f"{path}: cannot be read")
        assert "\n" not in str(caught.value)


def test_a_file_of_other_bytes_is_an_error_of_this_package(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(b"\xff\xfe")
    for read in (lambda p: read_json(p), lambda p: read_records(p, Message), lambda p: read_record(p, Message)):
        with pytest.raises(RatifyError):
            read(tmp_path / "file.json")


def test_a_record_of_the_wrong_shape_is_an_error_of_this_package(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"title": "T"})
    with pytest.raises(RatifyError):
        read_record(tmp_path / "file.json", Policy)
