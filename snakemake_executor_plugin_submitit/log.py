"""As much of Snakemake's logger as is used here."""

from typing import Protocol


class Log(Protocol):
    """Says things to the user."""

    def info(self, message: str) -> None:
        """What happens."""
        ...

    def warning(self, message: str) -> None:
        """What may need somebody."""
        ...
