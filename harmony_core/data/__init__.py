"""Text to tokens: corpora, tokenizers, checksummed shards, and batches that depend on the step alone."""

from harmony_core.data.config import DataConfig
from harmony_core.data.corpus import SPLITS, Document, Source, Split
from harmony_core.data.dataset import TokenDataset
from harmony_core.data.loading import load_tokenizer
from harmony_core.data.manifest import DataManifest
from harmony_core.data.prepare import data_id, prepare
from harmony_core.data.tokenizer import Tokenizer

__all__ = [
    "SPLITS",
    "DataConfig",
    "DataManifest",
    "Document",
    "Source",
    "Split",
    "TokenDataset",
    "Tokenizer",
    "data_id",
    "load_tokenizer",
    "prepare",
]
