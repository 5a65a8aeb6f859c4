"""A person's JSON lines and tokenizer, through preparation and a training that keeps documents apart."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from harmony_core.architecture import Architecture
from harmony_core.data import DataConfig, TokenDataset, prepare
from harmony_core.training.recipe import Recipe
from harmony_core.training.trainer import train
from tests.data.test_own_tokenizer import MADE, TEXT

BLOCKS = [{"kind": "gqa", "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}, {"kind": "mlp", "d_ff": 32}]


def test_bits_per_byte_are_over_the_bytes_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(MADE))
    texts = [f"{number} <|im_start|>: {TEXT[number % 90 : 90 + 7 * (number % 20)]}" for number in range(300)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in texts))
    own = {"tokenizer": "file", "tokenizer_file": str(tmp_path / "tokenizer.json"), "separator": "<|im_start|>"}
    config = {"source": "files", "paths": [f"{tmp_path}/*.jsonl"], "text_key": "body", **own}
    manifest = prepare(DataConfig.parse(config), tmp_path, lambda line: None)
    data = TokenDataset(tmp_path / manifest.id, "validation")
    small = {"batch_size": 4, "sequence_length": 32, "tokens": 2 * 4 * 32, "precision": "fp32"}
    recipe = Recipe.parse({**small, "validation_tokens": 512, "document_boundaries": True})
    architecture = Architecture.parse({"d_model": 32, "vocab_size": manifest.vocab_size, "blocks": BLOCKS})
    result = train(architecture, recipe, tmp_path / manifest.id, init_seed=0, data_seed=0)
    assert str(result.status) == "ok"
    targets_N = np.concatenate([rows[:, 1:].ravel() for rows in data.windows(4, 32, 512)])
    assert (targets_N == manifest.separator).sum() > 3, "documents end within windows"
    num_bytes = len(data.tokenizer.decode(targets_N.tolist()))
    assert result.val_bits_per_byte == pytest.approx(result.val_loss * len(targets_N) / math.log(2) / num_bytes)
