"""`--logger harmony`: what a person sees of a long search; a line a generation, and failures in full."""

from snakemake_logger_plugin_harmony.arguments import refuse_mistakes
from snakemake_logger_plugin_harmony.handler import LogHandler

__all__ = ["LogHandler"]

refuse_mistakes()
