"""The sources by name."""

from __future__ import annotations

from harmony_core.data.config import DataConfig, SourceName
from harmony_core.data.corpus import Source
from harmony_core.data.files import FilesSource
from harmony_core.data.installed_python import InstalledPythonSource
from harmony_core.data.loading import given_tokenizer
from harmony_core.data.shakespeare import ShakespeareSource
from harmony_core.data.synthetic import SyntheticSource
from harmony_core.data.tokenfiles import TokensSource


def open_source(name: SourceName, config: DataConfig) -> Source:
    """The source of that name, set up from the configuration."""
    match name:
        case "shakespeare":
            return ShakespeareSource()
        case "installed-python":
            return InstalledPythonSource()
        case "files":
            return FilesSource(config.paths, config.text_key, config.skip_bad_records)
        case "tokens":
            return TokensSource(config.paths, config.token_dtype, lambda: given_tokenizer(config))
        case "synthetic":
            return SyntheticSource(config.seed, config.max_bytes)
