"""A checkpoint as a GGUF file, for llama.cpp and Ollama, written with the `gguf` package.

Tensors get their GGUF names, and the rows of each head of the query and key projections another
order: llama.cpp turns neighbouring pairs of a head's dimensions, transformers turns its first half
against its second (RoPE; Su et al. 2021, arXiv 2104.09864, section 3.4.2, in two layouts). What the
file says of the tokenizer is copied from a GGUF file of the base model, since the name of a
tokenizer's splitting rule stands in no checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from prefect_ratify.errors import InputError
from prefect_ratify.store import read_json

Weights = Literal["f16", "f32"]
ARCHITECTURE = "llama"  # by transformers' name and by GGUF's


def write_gguf(checkpoint: Path, source: Path, target: Path, title: str, weights: Weights = "f16") -> None:
    """Write a checkpoint folder as one GGUF file, whole or not at all.

    Matrices are written in `weights`, vectors in float32. `source` is a GGUF file of the base model,
    of which nothing but the tokenizer is taken. InputError where the architecture is another one, or
    the source's vocabulary.
    """
    import gguf

    config = read_json(checkpoint / "config.json")
    _require_llama(config, checkpoint)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        writer = gguf.GGUFWriter(part, ARCHITECTURE, use_temp_file=True)  # else all lies in memory twice
        _describe(writer, config, title, weights)
        _copy_tokenizer(writer, checkpoint, source)
        for name, tensor in _tensors(checkpoint, config):
            writer.add_tensor(name, tensor.astype("float16" if weights == "f16" and tensor.ndim > 1 else "float32"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(target)
    except OSError as error:
        raise InputError(f"the file cannot be written ({error.strerror or error})", path=target) from None
    finally:
        part.unlink(missing_ok=True)


def _require_llama(config: dict[str, Any], checkpoint: Path) -> None:
    kind, rope = config.get("model_type"), config.get("rope_parameters") or {}
    wrong = f"its architecture is {kind}" if kind != ARCHITECTURE else ""
    if rope.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        wrong = wrong or "its positions are scaled"
    if config.get("attention_bias") or config.get("mlp_bias"):
        wrong = wrong or "its projections have biases"
    if wrong:
        raise InputError(f"no GGUF is written: {wrong}", "convert it with llama.cpp's own script", path=checkpoint)


def _describe(writer: Any, config: dict[str, Any], title: str, weights: Weights) -> None:
    import gguf

    heads = config["num_attention_heads"]
    writer.add_name(title)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if weights == "f16" else gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_rope_freq_base(float((config.get("rope_parameters") or config).get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _copy_tokenizer(writer: Any, checkpoint: Path, source: Path) -> None:
    """Take over the source's fields that describe the tokenizer, once its tokens are the checkpoint's."""
    import gguf

    try:
        fields = gguf.GGUFReader(source).fields
    except (OSError, ValueError) as error:
        raise InputError(f"this GGUF file cannot be read ({error})", path=source) from None
    tokens = fields.get("tokenizer.ggml.tokens")
    if tokens is None or tokens.contents() != _tokens(checkpoint):
        raise InputError("its tokens are not those of the finetuned model", "name a GGUF of its base", path=source)
    for name, field in fields.items():
        if name.startswith("tokenizer."):
            kind, *inner = field.types
            writer.add_key_value(name, field.contents(), kind, inner[-1] if inner else None)


def _tokens(checkpoint: Path) -> list[str]:
    """The checkpoint's tokens as they are spelt in its tokenizer, by id."""
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True).get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _tensors(checkpoint: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every tensor by its GGUF name, one in memory at a time."""
    import gguf
    from safetensors import safe_open

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    turned = {"q_proj.weight": heads, "k_proj.weight": config.get("num_key_value_heads") or heads}
    for path in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                renamed = names.get_name(name, try_suffixes=(".weight",))
                if renamed is None:
                    raise InputError(f"no GGUF is written: it has no name for {name!r}", path=path)
                tensor = file.get_tensor(name).float().numpy()
                count = turned.get(".".join(name.split(".")[-2:]))
                yield renamed, tensor if count is None else _interleaved(tensor, count)


def _interleaved(matrix: Any, heads: int) -> Any:
    """Rows of each head in pairs (first half, second half), as llama.cpp turns them. The shape stays."""
    halves = matrix.reshape(heads, 2, matrix.shape[0] // heads // 2, *matrix.shape[1:])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def _head_size(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
