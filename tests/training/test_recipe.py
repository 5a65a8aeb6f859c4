"""The recipe refuses what cannot be trained, and its id moves with everything that moves a result."""

from __future__ import annotations

import pytest

from harmony_core.base import digest
from harmony_core.errors import UserError
from harmony_core.training.recipe import Recipe


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("tokens", 10, "use at least"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rat", 1.0, "did you mean 'learning_rate'"),
    ],
)
def test_bad_values_are_named(field: str, value: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Recipe.parse({field: value})


def test_id_depends_on_every_field_and_on_the_data() -> None:
    base = Recipe(precision="fp32")
    ids = {base.id("a"), base.id("b")}
    changes = ({"learning_rate": 1e-3}, {"tokens": 4096}, {"schedule": "wsd"}, {"precision": "bf16"}, {"compile": True})
    for change in changes:
        ids.add(base.model_copy(update=change).id("a"))
    assert len(ids) == 7


def test_id_is_that_of_recipes_from_before_compile_was_a_field_and_micro_batches_none() -> None:
    before = {**Recipe(precision="fp32").model_dump(exclude={"compile"}), "micro_batch_size": None}
    assert Recipe(precision="fp32").id("a") == digest({"recipe": before, "data": "a"})
