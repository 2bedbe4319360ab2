"""The options of the pytest plugin. Every pytest run in an environment loads this module: it imports nothing else."""

from __future__ import annotations

import argparse
from typing import Any

FILE = "scenarios.yaml"


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _positive(text: str) -> int:
    value = _count(text)
    if not value:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


OPTIONS: dict[str, dict[str, Any]] = {
    "policy": {"metavar": "FILE", "help": f"test {FILE} files against this policy.md; without it, nothing happens"},
    "model": {
        "metavar": "MODEL",
        "default": "embedded",
        "help": "who answers, with the policy as prompt: embedded (the default), a checkpoint folder or a LiteLLM "
        "name; or finetuned (finetuned@RUN), without it",
    },
    "judge": {"metavar": "MODEL", "default": "", "help": "the model that decides clauses that have no check"},
    "against": {
        "metavar": "WHAT",
        "default": "",
        "help": "fail only where a clause is upheld less often than under this: git:REVISION, a policy file, a model, "
        "base, refined (refined@RUN) …, '… on MODEL'",
    },
    "samples": {"metavar": "N", "type": _positive, "default": 1, "help": "answers for each scenario (default: 1)"},
    "split": {
        "choices": ["develop", "held_out", "all"],
        "default": "",
        "help": "which scenarios (default: develop; with a finetuned model, held_out)",
    },
    "rule": {
        "metavar": "TEXT",
        "default": "",
        "help": "with --against, what may not get worse (default: that of stakeholders.yaml)",
    },
    "max-calls": {"metavar": "N", "type": _count, "default": None, "help": "make at most so many calls; 0 makes none"},
    "comparison": {"metavar": "FILE", "default": "", "help": "with --against, write the comparison as Markdown"},
}


def dest(name: str) -> str:
    """Where pytest keeps an option."""
    return f"ratify_{name.replace('-', '_')}"
