"""The same work by distilabel; runs in its own environment.

    .bench/distilabel/bin/python -m tests.data_bench.distilabel_pipeline URL COUNT FOLDER [BATCH]

A pipeline of three text generations: the response, a critique of it, a revision. Each is a step, a
process of its own whose calls of one batch are made at once, so that BATCH of each make three times
as many at once. Its cache is off; the rows are its Distiset. Only `run` is timed, less the same of
one row, which is mostly starting the processes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from distilabel.models import OpenAILLM  # type: ignore[import-not-found]
from distilabel.pipeline import Pipeline  # type: ignore[import-not-found]
from distilabel.steps import LoadDataFromDicts  # type: ignore[import-not-found]
from distilabel.steps.tasks import TextGeneration  # type: ignore[import-not-found]

from tests.data_bench.work import AT_ONCE, CALLS, CLAUSE, CRITIQUE_MARK, MAX_TOKENS, MODEL, REVISION_MARK, question

BATCH = AT_ONCE // CALLS
CRITIC = (
    f"{CRITIQUE_MARK}\nSay how the response falls short of the clause: {CLAUSE}\n\n{{{{ q }}}}\n\n{{{{ response }}}}"
)
REVISER = f"{REVISION_MARK}\nRewrite the response.\n\n{{{{ q }}}}\n\n{{{{ response }}}}\n\n{{{{ critique }}}}"


def run(url: str, count: int, folder: Path, batch: int) -> float:
    """The seconds of one run; RuntimeError unless every row has its revision."""
    with Pipeline(name=f"rows-{count}", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(data=[{"q": question(n)} for n in range(count)], batch_size=batch)
        steps = (
            _step("respond", url, batch, "{{ q }}", ["q"], "response"),
            _step("criticise", url, batch, CRITIC, ["q", "response"], "critique"),
            _step("revise", url, batch, REVISER, ["q", "response", "critique"], "revision"),
        )
        load >> steps[0] >> steps[1] >> steps[2]
    started = time.perf_counter()
    rows = pipeline.run(use_cache=False)["default"]["train"]
    seconds = time.perf_counter() - started
    if len(rows) != count or not all("sorry" in text for text in rows["revision"]):
        raise RuntimeError(f"{len(rows)} of {count} rows, or a row without its revision")
    return seconds


def _step(name: str, url: str, batch: int, template: str, columns: list[str], said: str) -> TextGeneration:
    llm = OpenAILLM(
        model=MODEL,
        base_url=url,
        api_key="none",
        generation_kwargs={"max_new_tokens": MAX_TOKENS, "temperature": 0.7},
    )
    return TextGeneration(
        name=name,
        llm=llm,
        template=template,
        columns=columns,
        input_batch_size=batch,
        output_mappings={"generation": said, "model_name": f"{said}_model"},
        add_raw_output=False,
        add_raw_input=False,
        use_default_structured_output=False,
    )


def main(url: str, count: int, folder: Path, batch: int) -> None:
    start = run(url, 1, folder / "one", batch)
    seconds = run(url, count, folder / "all", batch) - start
    print(json.dumps({"seconds": seconds, "calls": CALLS * (count + 1), "start": start}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else BATCH)
