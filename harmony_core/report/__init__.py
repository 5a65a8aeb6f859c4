"""What a person reads of a search: figures, tables, diagrams, one HTML page."""

from harmony_core.report.diagram import architecture_svg
from harmony_core.report.write import write_report

__all__ = ["architecture_svg", "write_report"]
