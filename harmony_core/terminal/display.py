"""A search's progress on a terminal, where what is open stays in place, or in a file, where lines are rare."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from harmony_core.progress import Failure, GenerationProgress, Pace, ProgressReader, SearchProgress
from harmony_core.terminal import progress_lines as lines

LEAST_PAUSE_SECONDS = 2.0
_LINE_SECONDS = 60.0
MOST_FAILURES = 10


class Display:
    """Shows what is new; a context manager that leaves the terminal as a terminal should be.

    What is finished is printed once, and stays. What is open is a live region on a terminal; elsewhere it is
    printed when it has changed, at most once a minute, and once at the end.

    Args:
        reader: of the search's files.
        console: where it is shown.
        is_one_look: whether this is all that will be seen: then candidates under way are shown in a file too.
        clock: seconds that never go back.

    Attributes:
        note: what is shown with what is open; None for nothing.
    """

    def __init__(
        self,
        reader: ProgressReader,
        console: Console,
        *,
        is_one_look: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        # In a file, where what is open is told once a minute, these lines would be most of it.
        self._with_candidates = is_one_look or console.is_interactive
        self._reader, self._clock = reader, clock
        self._pace = Pace(clock)
        self._name = reader.folder.name
        self._progress = SearchProgress(None)
        self.note: str | None = None
        self._seconds_left: float | None = None
        self._printed: set[str] = set()
        self._last_line, self._last_news = clock(), [""]
        self._cost = 0.0
        self._live: Live | None = None

    @property
    def pause(self) -> float:
        """Seconds until it is time to look again: looking may take a twentieth of a slow file system's time."""
        return max(LEAST_PAUSE_SECONDS, self.least_pause)

    @property
    def least_pause(self) -> float:
        """The same where something is known to have happened."""
        return 20 * self._cost

    def update(self) -> SearchProgress:
        """Reads what is new and shows it.

        Raises:
            UserError: a file is damaged.
        """
        began = self._clock()
        self._progress = progress = self._reader.read()
        self._cost = self._clock() - began
        self._seconds_left = self._pace.seconds_left(progress)
        if progress.manifest is not None:
            self._once(lines.begun(self._name, progress.manifest), markup=True)
        for one in progress.stages:
            if _is_told_for_good(one):
                self._once(lines.stage(one))
        self._print_failures(progress.failures)
        if progress.finished:
            self._once(f"search {self._name}: finished, {self._reader.folder.report / 'index.html'}")
        self._show_open()
        return progress

    def close(self) -> None:
        """Ends the live region; what was open then stays to be read."""
        self._end_live()
        self._print_open(with_eta=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _show_open(self) -> None:
        if self.console.is_interactive:
            preparing = [f"search {self._name}: preparing data"] if self._progress.manifest is None else []
            self._show_live(self._open_lines(with_eta=True) or preparing)
        elif self._clock() - self._last_line >= _LINE_SECONDS:
            self._print_open(with_eta=True)

    def _open_lines(self, with_eta: bool) -> list[str]:
        """What is under way; the time that is left, of the whole search, stands on the last stage's line."""
        stages = [one for one in self._progress.stages if not _is_told_for_good(one)]
        told = [self.note] if self.note is not None and stages else []
        for number, one in enumerate(stages, 1):
            left = self._seconds_left if with_eta and number == len(stages) else None
            told.append(lines.stage(one) + ("" if left is None else f", ETA {lines.duration(left)}"))
            told += lines.under_way(one) if self._with_candidates else []
        return told

    def _show_live(self, region: list[str]) -> None:
        if not region:
            self._end_live()
        elif self._live is not None:
            self._live.update(_Region(region), refresh=True)
        else:
            self._live = Live(_Region(region), console=self.console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print_open(self, with_eta: bool) -> None:
        # A new estimate alone is no news.
        news = self._open_lines(with_eta=False)
        if news != self._last_news:
            self._last_news, self._last_line = news, self._clock()
            for line in self._open_lines(with_eta):
                self.print(line)

    def _print_failures(self, failures: tuple[Failure, ...]) -> None:
        for one in failures[:MOST_FAILURES]:
            self.print(lines.failure(one), style="red")
        if len(failures) > MOST_FAILURES:
            self.print(f"... and {len(failures) - MOST_FAILURES} more that failed", style="red")

    def _once(self, line: str, markup: bool = False) -> None:
        if line not in self._printed:
            self._printed.add(line)
            self.print(line, markup=markup)

    def print(self, line: str, style: str | None = None, markup: bool = False) -> None:
        """Prints a line above the live region, whole, however narrow the terminal.

        Args:
            line: without its newline.
            style: one of rich's; None is the terminal's own.
            markup: whether the line's square brackets are rich's markup.
        """
        self.console.print(line, style=style, markup=markup, highlight=False, soft_wrap=True)


def _is_told_for_good(stage: GenerationProgress) -> bool:
    """Whether nothing more will be said of a generation or promotion."""
    return stage.finished or stage.closed


class _Region:
    """Lines that are folded to the terminal's width, also while a line above them is printed unfolded."""

    def __init__(self, region: list[str]) -> None:
        self._text = Text("\n".join(region))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._text, console.options)
