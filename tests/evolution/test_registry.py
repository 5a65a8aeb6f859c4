"""Each kind of algorithm has a configuration of its own, and what is wrong with one is told in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pytest

from harmony_core.errors import UserError
from harmony_core.evolution.algorithm import Algorithm
from harmony_core.evolution.algorithms import ALGORITHMS, AlgorithmConfig
from harmony_core.evolution.algorithms.random_search import RandomSearch, RandomSearchConfig
from harmony_core.evolution.registry import register
from harmony_core.results.fronts import constrained
from harmony_core.search.config import Config
from harmony_core.search.objective import Objective


class Patient(AlgorithmConfig):
    """One with fields of its own, and with none of the others'."""

    kind: Literal["patient"] = "patient"
    patience: int = 3
    targets_are_constraints: ClassVar[bool] = False

    def make(self, objectives: Sequence[Objective], population: int) -> Algorithm:
        return RandomSearch(RandomSearchConfig(survivors=self.patience), objectives, population)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHMS, "patient", Patient)


def told(algorithm: Any) -> list[str]:
    return [str(one) for one in Config.mistakes({"search": {"algorithm": algorithm}}, "mine.yaml")]


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        ({"kind": "nsga3"}, "kind: nsga3: unknown algorithm; use one of end_layer, fitness, middle_layer, nsga2, "),
        ({"kind": ["nsga2"]}, "kind: ['nsga2']: unknown algorithm; use one of "),
        ({"survivor": 3}, "survivor: 3: unknown key; did you mean 'survivors'?"),
        (
            {"kind": "fitness", "patience": 3},
            "patience: 3: unknown key; the keys here are crossover_probability, kind, survivors, tournament_size",
        ),
        ({"kind": "random", "survivors": 1}, "survivors: 1: input should be greater than or equal to 2"),
    ],
)
def test_a_wrong_field_is_refused_in_one_line(algorithm: dict[str, Any], said: str) -> None:
    assert told(algorithm)[0].startswith(f"mine.yaml.search.algorithm.{said}")


@pytest.mark.usefixtures("patient")
def test_the_fields_of_a_kind_are_its_own() -> None:
    assert (
        Config.parse({"search": {"algorithm": {"kind": "patient", "patience": 9}}}).search.algorithm.kind == "patient"
    )
    (line,) = told({"kind": "patient", "survivors": 3})
    assert line == "mine.yaml.search.algorithm.survivors: 3: unknown key; the keys here are kind, patience"
    # One mistake hides no other.
    assert len(told({"kind": "patient", "survivors": 3, "patience": "long"})) == 2


def test_what_is_no_mapping_is_refused() -> None:
    assert told("nsga2") == ["mine.yaml.search.algorithm: nsga2: use a mapping of keys"]


@pytest.mark.usefixtures("patient")
def test_a_configuration_survives_being_written_down() -> None:
    config = Config.parse({"search": {"algorithm": {"kind": "patient", "patience": 9}}})
    assert config.model_dump(mode="json")["search"]["algorithm"] == {"kind": "patient", "patience": 9}
    assert Config.parse(config.model_dump(mode="json")) == config
    assert config.search.make_algorithm().num_survivors == 9  # type: ignore[attr-defined]


@pytest.mark.usefixtures("patient")
def test_whether_targets_are_constraints_is_the_algorithms_word() -> None:
    words = {kind: constrained({"algorithm": {"kind": kind}}) for kind in ALGORITHMS}
    without = {kind for kind, word in words.items() if not word}
    assert without == {"fitness", "patient"}


def test_a_kind_that_leaves_out_its_name_is_the_default() -> None:
    assert Config.parse({"search": {"algorithm": {"survivors": 4}}}) == Config.parse(
        {"search": {"algorithm": {"kind": "nsga2", "survivors": 4}}}
    )


def test_a_name_cannot_be_taken_twice() -> None:
    class Twin(RandomSearchConfig):
        """Another one of this name."""

    with pytest.raises(ValueError, match="'random' is registered twice"):
        register(Twin)


def test_an_unknown_kind_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"search.algorithm.kind: gone: unknown algorithm"):
        Config.parse({"search": {"algorithm": {"kind": "gone"}}})


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_an_algorithm_survives_being_written_without_defaults(kind: str) -> None:
    """As a search's start is; one of another kind would go on with other candidates."""
    objectives = [{"name": "val_bits_per_byte"}, {"name": "num_params", "target": 1e6}]
    config = Config.parse({"search": {"algorithm": {"kind": kind}, "objectives": objectives}})
    written = config.model_dump(mode="json", exclude_defaults=True)
    assert Config.parse(written) == config
    assert Config.parse(written).search.algorithm.kind == kind
