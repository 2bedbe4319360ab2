"""`ratify export`, by the tool that is written for."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect_ratify.commands.arguments import Commands, add_run, run_of


def add_exports(commands: Commands) -> None:
    """`ratify export` with its tools."""
    exporting = commands.add_parser("export", help="write a suite for another tool")
    tools = exporting.add_subparsers(required=True, metavar="TOOL")
    inspect = tools.add_parser("inspect", help="a task file that Inspect AI runs")
    inspect.add_argument("folder", type=Path)
    inspect.add_argument("target", type=Path, metavar="FILE.py")
    inspect.add_argument("--split", choices=["develop", "held_out", "all"], default="held_out")
    inspect.set_defaults(command=_export_inspect)

    gguf = tools.add_parser("gguf", help="the finetuned model as one file for llama.cpp and Ollama")
    gguf.add_argument("folder", type=Path)
    gguf.add_argument("target", type=Path, metavar="FILE.gguf")
    gguf.add_argument("--source", type=Path, metavar="FILE.gguf", help="a GGUF of the base model, for its tokenizer")
    gguf.add_argument("--float", dest="weights", choices=["f16", "f32"], default="f16", help="(default: f16)")
    add_run(gguf)
    gguf.set_defaults(command=_export_gguf)


def _export_inspect(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.exchanging import export_inspect

    export_inspect(options.folder, options.target, options.split)
    return 0


def _export_gguf(options: argparse.Namespace) -> int:
    from prefect_ratify.flows.exporting_model import export_gguf

    print(export_gguf(run_of(options), options.target, options.source, options.weights))
    return 0
