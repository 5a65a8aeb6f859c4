"""From a configuration to a folder of tokens, made once."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmony_core.base import digest
from harmony_core.data import manifest as manifests
from harmony_core.data.config import DataConfig
from harmony_core.data.corpus import SPLITS, Corpus, Document, Log, Source, Split, Unfetchable
from harmony_core.data.loading import TOKENIZER_FILE, given_tokenizer
from harmony_core.data.longtext import Text, pieces
from harmony_core.data.manifest import DataManifest, SplitRecord, data_checksum
from harmony_core.data.shards import ShardWriter, read_shards, token_dtype
from harmony_core.data.sources import open_source
from harmony_core.data.staging import staged_folder, write_synced
from harmony_core.data.summary import FILE_NAME as SUMMARY_FILE
from harmony_core.data.summary import Summary, summarise, summary_lines, warning_lines
from harmony_core.data.tokenfiles import ids_of
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
    if config.tokenizer == "file":
        from harmony_core.data.reading_tokenizer import read_content

        own = read_content(config.tokenizer_file or "")
        parts |= {"tokenizer_file": hashlib.sha256(own).hexdigest(), "separator": config.separator}
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
        if summary := Summary.load(folder):
            _say(warning_lines(manifest, summary), log)
        return manifest
    started = time.perf_counter()
    source, corpus = _read(config, log)
    tokenizer = _tokenizer(config, corpus, log)
    with staged_folder(folder) as temporary:
        manifest = _write(temporary, folder.name, config, source, corpus, tokenizer)
        summary = _summarise(temporary, manifest, corpus, tokenizer)
    manifest = DataManifest.load(folder)
    _say(summary_lines(manifest, summary), log)
    _say(warning_lines(manifest, summary), log)
    tokens = ", ".join(f"{manifest.splits[split].tokens:,} {split}" for split in SPLITS)
    log(f"{folder}: {tokens} tokens of {_sources(manifest)} in {time.perf_counter() - started:.1f} s")
    return manifest


def _say(lines: Iterable[str], log: Log) -> None:
    for line in lines:
        log(line)


def _read(config: DataConfig, log: Log) -> tuple[Source, Corpus]:
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


def _parts(corpus: Corpus, max_bytes: int | None) -> Iterator[tuple[Split, Document]]:
    """The first `max_bytes` of each split's text."""
    if max_bytes is None:
        yield from corpus.parts()
        return
    left = dict.fromkeys(SPLITS, max_bytes)
    for split, document in corpus.parts():
        if left[split] > 0:
            yield split, Document(document.name, document.text[: left[split]])
            left[split] -= len(document.text)
        elif max(left.values()) <= 0:
            return


def _tokenizer(config: DataConfig, corpus: Corpus, log: Log) -> Tokenizer:
    if config.tokenizer != "bpe":
        return given_tokenizer(config)
    log(f"training a BPE tokenizer of {config.vocab_size} tokens on the training split")
    from harmony_core.data.bpe import BpeTokenizer

    parts = _parts(corpus, config.max_bytes)
    tokenizer = BpeTokenizer.train((bytes(one.text) for split, one in parts if split == "train"), config.vocab_size)
    if tokenizer.vocab_size < config.vocab_size:
        log(f"the text has only {tokenizer.vocab_size} BPE tokens")
    return tokenizer


class _SplitWriter:
    """Encodes and writes the documents of a split, one after another.

    Args:
        shards: where its tokens go.
        tokenizer: what they are.
        encode: gives those of a document.
    """

    def __init__(
        self, shards: ShardWriter, tokenizer: Tokenizer, encode: Callable[[bytes], NDArray[np.uint32]]
    ) -> None:
        self._shards, self._encode, self._token_bytes = shards, encode, tokenizer.token_bytes
        # Tokens of bytes are those of its pieces. A token of another tokenizer may go over the end of a piece.
        self._pieces = pieces if encode == tokenizer.encode and isinstance(tokenizer, ByteTokenizer) else _whole
        self._separator = np.array([tokenizer.separator], dtype=np.uint32)
        self._bytes = self._count = 0
        self._names: list[str] = []

    def write(self, document: Document) -> None:
        """The separator, then the text: so every byte of text is predicted from something."""
        self._shards.write(self._separator)
        for piece in self._pieces(document.text):
            tokens = self._encode(piece)
            self._shards.write(tokens)
            self._bytes += int(self._token_bytes[tokens].sum())
        self._count += 1
        if len(self._names) < manifests.MAX_NAMES:
            self._names.append(document.name)

    def finish(self, told: str) -> SplitRecord:
        """What was written; `told` is what a split without text is called."""
        shards = self._shards.finish()
        if not shards:
            raise UserError(told, "no text", "use more documents")
        return SplitRecord(
            tokens=sum(shard.tokens for shard in shards),
            bytes=self._bytes,
            num_documents=self._count,
            documents=tuple(self._names),
            shards=shards,
        )


def _whole(text: Text) -> Iterator[bytes]:
    yield bytes(text)


def _write(
    folder: Path, name: str, config: DataConfig, source: Source, corpus: Corpus, tokenizer: Tokenizer
) -> DataManifest:
    dtype = token_dtype(tokenizer.vocab_size)
    with contextlib.ExitStack() as files:
        shards = {split: files.enter_context(ShardWriter(folder, split, dtype)) for split in SPLITS}
        encode = ids_of if config.source == "tokens" else tokenizer.encode
        writers = {split: _SplitWriter(shards[split], tokenizer, encode) for split in SPLITS}
        for split, document in _parts(corpus, config.max_bytes):
            writers[split].write(document)
        records = {split: writers[split].finish(f"{split} split of {source.name}") for split in SPLITS}
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


def _summarise(folder: Path, manifest: DataManifest, corpus: Corpus, tokenizer: Tokenizer) -> Summary:
    """Beside the manifest, which readers from before there were summaries read too."""
    train, test = (read_shards(folder, manifest.splits[split].shards, manifest.dtype) for split in ("train", "test"))
    summary = summarise(corpus.left_out, train, test, tokenizer.token_bytes)
    write_synced(folder / SUMMARY_FILE, (summary.model_dump_json(indent=2) + "\n").encode())
    return summary


def _sources(manifest: DataManifest) -> str:
    if manifest.source == manifest.requested:
        return manifest.source
    return f"{manifest.source} (instead of {manifest.requested}, which could not be fetched)"
