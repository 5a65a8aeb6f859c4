"""A person's own tokenizer in an exported folder."""

import json
from pathlib import Path

from transformers import AutoTokenizer

from harmony_core.data.own_tokenizer import OwnTokenizer
from harmony_core.interop.hf.tokenizer import write_tokenizer
from tests.data.test_own_tokenizer import MADE, TEXT


def test_exported_ids_are_those_of_training(tmp_path: Path) -> None:
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<pad>", "type_id": 0}}]}
    template |= {"pair": [], "special_tokens": {"<pad>": {"id": "<pad>", "ids": [304], "tokens": ["<pad>"]}}}
    template["single"] += [{"Sequence": {"id": "A", "type_id": 0}}]
    template["pair"] = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]
    own = OwnTokenizer(json.dumps({**MADE, "post_processor": template}), "<|im_start|>")
    write_tokenizer(own, tmp_path, 64, "left")
    exported = AutoTokenizer.from_pretrained(tmp_path)
    text = f"{TEXT} <|im_start|> <|endoftext|>"
    assert exported(text)["input_ids"] == own.encode(text.encode()).tolist()
    assert exported.decode(exported(text)["input_ids"]) == text
    assert exported.eos_token_id == exported.pad_token_id == own.separator == 1
    assert len(exported) == own.vocab_size
