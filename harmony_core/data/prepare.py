"""From a configuration to a folder of tokens, made once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmony_core.base import digest
from harmony_core.data import manifest as manifests
from harmony_core.data.config import DataConfig
from harmony_core.data.corpus import SPLITS, Document, Log, Source, Split, Splits, Unfetchable
from harmony_core.data.loading import TOKENIZER_FILE
from harmony_core.data.manifest import DataManifest, SplitRecord, data_checksum
from harmony_core.data.shards import token_dtype, write_shards
from harmony_core.data.sources import open_source
from harmony_core.data.staging import staged_folder, write_synced
from harmony_core.data.tokenizer import ByteTokenizer, Tokenizer, checksum
from harmony_core.errors import UserError


def data_id(config: DataConfig) -> str:
    """The folder's name: 16 hex digits over what decides its content.

    Configurations that differ in what is not used (the seed of a text that is not generated) share a folder;
    `files` count by their content, an interpreter's library by its version. A fallback does not change the
    id: a search finds its data where it was, whether or not there is a network by then.
    """
    parts: dict[str, object] = {
        "format": manifests.FORMAT_VERSION,
        "source": config.source,
        "fingerprint": open_source(config.source, config).fingerprint(),
        "tokenizer": config.tokenizer,
        "vocab_size": config.vocab_size if config.tokenizer == "bpe" else ByteTokenizer.vocab_size,
        "max_bytes": config.max_bytes,
    }
    if config.source == "shakespeare" and config.fallback is not None:
        parts["fallback"] = config.fallback
        parts["seed"] = config.seed if config.fallback == "synthetic" else None
    return digest(parts)


def prepare(config: DataConfig, root: Path | str, log: Log = print) -> DataManifest:
    """Makes `root/<id>/` unless it is there: shards of each split, tokenizer.json, manifest.json.

    The folder appears whole or not at all; any number of processes may do this at once.

    Args:
        config: which text and tokenizer.
        root: folder of data folders.
        log: told, in one line each, what is done, and which source is taken instead of one out of reach.

    Raises:
        UserError: the text cannot be read or is not what it should be, or the disk is full.
    """
    folder = Path(root) / data_id(config)
    if folder.exists():
        manifest = DataManifest.load(folder)
        log(f"{folder}: already prepared from {_sources(manifest)}")
        return manifest
    started = time.perf_counter()
    source, splits = _read(config, log)
    splits = {split: _truncate(splits[split], config.max_bytes) for split in SPLITS}
    for split in SPLITS:
        if not splits[split]:
            raise UserError(f"{split} split of {source.name}", "no text", "use more documents")
    tokenizer = _tokenizer(config, splits, log)
    with staged_folder(folder) as temporary:
        manifest = _write(temporary, folder.name, config, source, splits, tokenizer)
    manifest = DataManifest.load(folder)
    tokens = ", ".join(f"{manifest.splits[split].tokens:,} {split}" for split in SPLITS)
    log(f"{folder}: {tokens} tokens of {_sources(manifest)} in {time.perf_counter() - started:.1f} s")
    return manifest


def _read(config: DataConfig, log: Log) -> tuple[Source, Splits]:
    """The documents of the source, or of the fallback when that is out of reach."""
    source = open_source(config.source, config)
    try:
        return source, source.documents(log)
    except Unfetchable as error:
        if config.fallback is None:
            fix = f"could not be fetched ({error}); restore the network or set data.fallback"
            raise UserError("data.source", config.source, fix) from None
        log(f"{config.source} could not be fetched ({error}); taking {config.fallback} instead")
    source = open_source(config.fallback, config)
    return source, source.documents(log)


def _truncate(documents: list[Document], max_bytes: int | None) -> list[Document]:
    """The first `max_bytes` of text."""
    if max_bytes is None:
        return documents
    kept: list[Document] = []
    for document in documents:
        if max_bytes <= 0:
            break
        kept.append(Document(document.name, document.text[:max_bytes]))
        max_bytes -= len(document.text)
    return kept


def _tokenizer(config: DataConfig, splits: Splits, log: Log) -> Tokenizer:
    if config.tokenizer == "byte":
        return ByteTokenizer()
    log(f"training a BPE tokenizer of {config.vocab_size} tokens on the training split")
    from harmony_core.data.bpe import BpeTokenizer

    tokenizer = BpeTokenizer.train((document.text for document in splits["train"]), config.vocab_size)
    if tokenizer.vocab_size < config.vocab_size:
        log(f"the text has only {tokenizer.vocab_size} BPE tokens")
    return tokenizer


def _write(
    folder: Path, name: str, config: DataConfig, source: Source, splits: Splits, tokenizer: Tokenizer
) -> DataManifest:
    dtype = token_dtype(tokenizer.vocab_size)
    records: dict[Split, SplitRecord] = {}
    for split in SPLITS:
        documents = splits[split]
        shards = write_shards(folder, split, _tokens(documents, tokenizer), dtype)
        records[split] = SplitRecord(
            tokens=sum(shard.tokens for shard in shards),
            bytes=sum(len(document.text) for document in documents),
            num_documents=len(documents),
            documents=tuple(document.name for document in documents[: manifests.MAX_NAMES]),
            shards=shards,
        )
    manifest = DataManifest(
        id=name,
        source=source.name,
        requested=config.source,
        origin=source.origin,
        licence=source.licence,
        tokenizer=tokenizer.kind,
        tokenizer_checksum=checksum(tokenizer),
        vocab_size=tokenizer.vocab_size,
        separator=tokenizer.separator,
        dtype=dtype,
        splits=records,
        checksum=data_checksum(checksum(tokenizer), records),
    )
    write_synced(folder / TOKENIZER_FILE, tokenizer.to_json().encode())
    write_synced(folder / manifests.FILE_NAME, manifest.to_json().encode())
    return manifest


def _tokens(documents: list[Document], tokenizer: Tokenizer) -> Iterator[NDArray[np.uint32]]:
    """The separator, then the text, of each document: so every byte of text is predicted from something."""
    separator = np.array([tokenizer.separator], dtype=np.uint32)
    for document in documents:
        yield separator
        yield tokenizer.encode(document.text)


def _sources(manifest: DataManifest) -> str:
    if manifest.source == manifest.requested:
        return manifest.source
    return f"{manifest.source} (instead of {manifest.requested}, which could not be fetched)"
