"""Exchange with `transformers`: architectures and weights from its models, and folders that it opens."""

from harmony_core.interop.hf.card import Origin
from harmony_core.interop.hf.export import export
from harmony_core.interop.hf.loading import architecture_from_config, from_hf
from harmony_core.interop.hf.published import architecture_from_file

__all__ = ["Origin", "architecture_from_config", "architecture_from_file", "export", "from_hf"]
