"""The recipe refuses what cannot be trained, and its id moves with everything that moves a result."""

from __future__ import annotations

import pytest

from harmony_core.errors import UserError
from harmony_core.training.recipe import Recipe
from harmony_core.training.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("tokens", 10, "use at least"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", [], "no rates"),
        ("learning_rate", [1e-3, 1e-3], "listed twice"),
        ("learning_rate", [1e-3, 0.0], "greater than 0"),
        ("warmup_tokens", 1_900_000, "overlaps with the decay; use at most 1600000"),
        ("learning_rat", 1.0, "did you mean 'learning_rate'"),
    ],
)
def test_bad_values_are_named(field: str, value: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Recipe.parse({field: value})


def test_id_depends_on_every_field_and_on_the_data() -> None:
    base = Recipe(precision="fp32")
    ids = {base.id("a"), base.id("b")}
    changes = (
        {"learning_rate": 1e-3},
        {"tokens": 4096},
        {"schedule": "cosine"},
        {"precision": "bf16"},
        {"compile": True},
    )
    for change in changes:
        ids.add(base.model_copy(update=change).id("a"))
    assert len(ids) == 7


def test_a_list_of_rates_is_as_many_recipes() -> None:
    both = Recipe.parse({"learning_rate": [1e-3, 1e-2]})
    assert [both.at_rate(number) for number in range(2)] == [Recipe(learning_rate=1e-3), Recipe(learning_rate=1e-2)]
    assert Recipe(learning_rate=1e-3).at_rate(0) == Recipe(learning_rate=1e-3)
    with pytest.raises(ValueError, match="one learning rate"):
        both.peak_learning_rate  # noqa: B018


def test_the_trunk_of_a_longer_training_is_the_same() -> None:
    short, long = (Recipe(tokens=tokens, warmup_tokens=40_960) for tokens in (409_600, 1_638_400))
    assert (short.trunk_steps, short.decay_steps, short.warmup_steps) == (80, 20, 10)
    factors = [[learning_rate_factor(one, step) for step in range(80)] for one in (short, long)]
    assert factors[0] == factors[1]
