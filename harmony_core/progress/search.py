"""A whole search: which generations are finished, which are open, what is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from harmony_core.progress.generation import Failure, GenerationProgress, GenerationReader, finished_generation
from harmony_core.results.framing import read_frame
from harmony_core.results.standing import Standing
from harmony_core.search.config import Config
from harmony_core.search.settings import read_settings
from harmony_core.store import Manifest, Run, SearchFolder, read_manifest
from harmony_core.store.evaluators import TRAINING_TABLE


@dataclasses.dataclass(frozen=True)
class SearchProgress:
    """How far a search is.

    Args:
        manifest: what it is; None before its data is prepared.
        generations: those that have a population, in order.
        promotion: None before it begins, or if nobody is promoted.
        failures: candidates that have failed since the reading before.
        work_done: trainings that have ended; a promoted one counts as much more as its training is longer.
        work_left: trainings to come, counted likewise.
        mean_seconds: of the trainings that were followed; None if there was none.
        finished: whether everything is there, the report included.
    """

    manifest: Manifest | None
    generations: tuple[GenerationProgress, ...] = ()
    promotion: GenerationProgress | None = None
    failures: tuple[Failure, ...] = ()
    work_done: float = 0.0
    work_left: float = 0.0
    mean_seconds: float | None = None
    finished: bool = False

    @property
    def stages(self) -> tuple[GenerationProgress, ...]:
        """The generations, then promotion if it has begun."""
        return self.generations if self.promotion is None else (*self.generations, self.promotion)

    @property
    def running(self) -> int | None:
        """Trainings under way; None if the journals do not say."""
        numbers = [one.running for one in self.stages if not one.finished]
        known = [number for number in numbers if number is not None]
        return sum(known) if len(known) == len(numbers) else None


class ProgressReader:
    """Reads a search's progress again and again, each time only what is new.

    What is finished is read once, a journal from where the last reading ended; nothing is written, no lock
    is taken, and no clock is read.

    Args:
        folder: the search's.
        old: selections whose generations' failures are nobody's news; None: those that the first reading finds.
    """

    def __init__(self, folder: SearchFolder, old: Collection[Path] | None = None) -> None:
        self.folder = folder
        self._old = old
        self._manifest: Manifest | None = None
        self._config: Config | None = None
        self._config_text: bytes | None = None
        self._finished: list[GenerationProgress] = []
        self._open: dict[int | None, GenerationReader] = {}
        self._is_first = True
        self._seconds: dict[tuple[int, int, Run], float] = {}

    def read(self) -> SearchProgress:
        """The progress now.

        Raises:
            UserError: a file is damaged.
        """
        if self._manifest is None and self.folder.manifest.is_file():
            self._manifest = read_manifest(self.folder.manifest)
        if self._manifest is None:
            return SearchProgress(None)
        config = self._configuration(self._manifest)
        failures: list[Failure] = []
        generations = self._generations(config, self._manifest, failures)
        standing = generations[-1].standing if generations else Standing(config, None)
        promotion = self._read_open(None, config, standing, failures) if _promotes(config) else None
        self._is_first = False
        done, left = _work(config, generations, promotion)
        seconds = self._seconds.values()
        ended = len(generations) == config.search.generations and all(one.finished for one in generations)
        promoted = not _promotes(config) or (promotion is not None and promotion.finished)
        return SearchProgress(
            self._manifest,
            tuple(generations),
            promotion,
            tuple(failures),
            done,
            left,
            sum(seconds) / len(seconds) if seconds else None,
            ended and promoted and (self.folder.report / "index.html").is_file(),
        )

    def _configuration(self, manifest: Manifest) -> Config:
        """That of the newest start, which may have more generations than the manifest's."""
        path = self.folder.config
        text = path.read_bytes() if path.is_file() else None
        if self._config is None or text != self._config_text:
            _, self._config = read_settings(self.folder, manifest)
            self._config_text = text
        return self._config

    def _generations(self, config: Config, manifest: Manifest, failures: list[Failure]) -> list[GenerationProgress]:
        found = list(self._finished)
        while len(found) < config.search.generations:
            number = len(found)
            # The frame is written before the selection, so this looks for the selection first.
            is_selected = self.folder.selection(number).is_file()
            before = self._framed(found[-1].standing if found else Standing(config, None), manifest)
            ended = finished_generation(self.folder, number, config, before) if is_selected else None
            # A generation is read once more at its end, for those that failed last. An old one is not worth reading
            # candidate by candidate.
            is_old = self._is_first if self._old is None else self.folder.selection(number) in self._old
            is_open = None if ended is not None and is_old else self._read_open(number, config, before, failures)
            if ended is not None and len(self._finished) == number:
                self._finished.append(ended)
                self._open.pop(number, None)
            now = ended or is_open
            if now is None:
                break
            found.append(now)
        return found

    def _framed(self, standing: Standing, manifest: Manifest) -> Standing:
        """The standing with the search's frame, once there is one."""
        if standing.frame is not None:
            return standing
        frame = read_frame(self.folder, manifest)
        return standing if frame is None else dataclasses.replace(standing, frame=frame)

    def _read_open(
        self, generation: int | None, config: Config, before: Standing, failures: list[Failure]
    ) -> GenerationProgress | None:
        reader = self._open.get(generation) or GenerationReader.open(self.folder, generation, config)
        if reader is None:
            return None
        self._open[generation] = reader
        progress = reader.read(before)
        failures += reader.new_failures()
        if generation is not None:
            self._seconds.update(
                ((generation, one.candidate, one.run), one.seconds)
                for one in reader.results(TRAINING_TABLE.name)
                if one.ok
            )
        return progress


def _promotes(config: Config) -> bool:
    return config.promote.members > 0


def _work(
    config: Config, generations: list[GenerationProgress], promotion: GenerationProgress | None
) -> tuple[float, float]:
    """Trainings done and left, in units of one of the search's."""
    search, promote = config.search, config.promote
    rates = len(config.recipe.learning_rates)
    done = sum(one.done for one in generations)
    total = sum(one.total for one in generations) + search.population * rates * (search.generations - len(generations))
    weight = config.promotion_recipe().all_tokens / config.recipe.all_tokens
    again = promote.members * promote.replicates * rates if promotion is None else promotion.total
    again_done = 0 if promotion is None else promotion.done
    return done + weight * again_done, total - done + weight * (again - again_done)
