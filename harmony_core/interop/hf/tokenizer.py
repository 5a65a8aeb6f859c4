"""From our tokenizers to the files that `AutoTokenizer` reads."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers

from harmony_core.data.own_tokenizer import OwnTokenizer
from harmony_core.data.tokenizer import ByteTokenizer, Tokenizer
from harmony_core.errors import UserError
from harmony_core.interop.hf.library import transformers

SEPARATOR = "<|endoftext|>"


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Refuses a tokenizer of another number of tokens than the model's vocabulary has."""
    if tokenizer.vocab_size != vocab_size:
        value = f"{tokenizer.kind} of {tokenizer.vocab_size} tokens"
        fix = f"the model's vocabulary has {vocab_size}; give the tokenizer that it was trained with, or none"
        raise UserError("tokenizer", value, fix)


def write_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int, side: str) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`, whose ids are those of `tokenizer.encode`.

    The separator is beginning, end and padding of a text. As here, it is put before no text by itself, and no text
    spells it out: its name in a text is encoded as any other word. Bytes that are not UTF-8 have no place in `str`.

    Args:
        tokenizer: ours.
        folder: where to.
        longest: the context of the model.
        side: where a batch is padded: left, as to generate from it, wherever the model takes it there.
    """
    encoder, separator = _byte_level(tokenizer), separator_name(tokenizer)
    if encoder.token_to_id(separator) is None:
        # No word that could be learnt: punctuation and letters are never one.
        encoder.add_special_tokens([tokenizers.AddedToken(separator, normalized=False, special=True)])
    assert encoder.token_to_id(separator) == tokenizer.separator
    wrapped = transformers().PreTrainedTokenizerFast(
        tokenizer_object=encoder,
        bos_token=separator,
        eos_token=separator,
        pad_token=separator,
        padding_side=side,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        model_max_length=longest,
    )
    wrapped.save_pretrained(folder)


def separator_name(tokenizer: Tokenizer) -> str:
    """What the separator is called: a person's own tokenizer says it, ours have none."""
    return tokenizer.separator_name if isinstance(tokenizer, OwnTokenizer) else SEPARATOR


def _byte_level(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    if isinstance(tokenizer, OwnTokenizer):
        # A template would put special tokens around a text, which none was trained with.
        plain = {"post_processor": None, "truncation": None, "padding": None}
        encoder = tokenizers.Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_json()), **plain}))
        encoder.decoder = tokenizers.decoders.ByteLevel()
        return encoder
    if not isinstance(tokenizer, ByteTokenizer):
        return tokenizers.Tokenizer.from_str(tokenizer.to_json())
    from harmony_core.data.bpe import byte_of_character

    # A BPE that never learnt a merge.
    encoder = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=byte_of_character(), merges=[]))
    encoder.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    encoder.decoder = tokenizers.decoders.ByteLevel()
    return encoder
