"""The same work by promptfoo.

    python -m tests.calls_bench.promptfoo URL COUNT FOLDER

COUNT tests with the policy as system message and one `llm-rubric` assertion each, graded by
the same server. The results are its JSON output; its database is left out (`--no-write`), so
that it stores once, like everyone else.

Its fastest sensible settings: 64 at once, no cache, no progress bar, no table, no log files, no
telemetry, no look for updates. The process is timed as a whole; who compares takes off the seconds of
the same process with one test, so that its start is not held against it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.calls_bench.work import AT_ONCE, CLAUSE, JSON_MARK, MAX_TOKENS, MODEL, POLICY, question

PROGRAMS = Path(".bench", "promptfoo", "node_modules", ".bin")
FLAGS = ("--no-cache", "--no-write", "--no-progress-bar", "--no-table", "--no-share")
SWITCHED_OFF = (
    "PROMPTFOO_DISABLE_DEBUG_LOG",
    "PROMPTFOO_DISABLE_ERROR_LOG",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION",
    "PROMPTFOO_DISABLE_TELEMETRY",
    "PROMPTFOO_DISABLE_UPDATE",
)


def configuration(url: str, count: int) -> dict[str, Any]:
    """The work as promptfoo wants it."""
    settings = {"apiBaseUrl": url, "apiKey": "none", "temperature": 0, "max_tokens": MAX_TOKENS}
    model = {"id": f"openai:chat:{MODEL}", "config": settings}
    messages = [{"role": "system", "content": POLICY}, {"role": "user", "content": "{{question}}"}]
    return {
        "prompts": [json.dumps(messages)],
        "providers": [model],
        "defaultTest": {
            "options": {"provider": model},
            "assert": [{"type": "llm-rubric", "value": f"{JSON_MARK}: {CLAUSE}"}],
        },
        "tests": [{"vars": {"question": question(number)}} for number in range(count)],
    }


def environment(folder: Path) -> dict[str, str]:
    """The variables that keep promptfoo to itself; its own node comes first."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(PROGRAMS.resolve()), os.environ.get("PATH", "")]),
        "PROMPTFOO_CONFIG_DIR": str(folder / "config"),
        **dict.fromkeys(SWITCHED_OFF, "1"),
    }


def main(url: str, count: int, folder: Path) -> None:
    config, out = folder / "work.json", folder / "out.json"
    config.write_text(json.dumps(configuration(url, count)), encoding="utf-8")
    flags = ("-c", str(config), "-o", str(out), "--max-concurrency", str(AT_ONCE), *FLAGS)
    command = [str(PROGRAMS / "promptfoo"), "eval", *flags]
    started = time.perf_counter()
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"promptfoo ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    passed = json.loads(out.read_text(encoding="utf-8"))["results"]["stats"]["successes"]
    if passed != count:
        raise RuntimeError(f"promptfoo passed {passed} of {count} tests")
    print(json.dumps({"seconds": seconds, "calls": 2 * count}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
