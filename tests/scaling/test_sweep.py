"""A sweep is planned within its text, trained once, extended until it brackets, and told again from its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.cli.isoflop import tell, tell_plan
from harmony_core.errors import UserError
from harmony_core.machines import Machine
from harmony_core.scaling.config import IsoflopConfig
from harmony_core.scaling.cost import price
from harmony_core.scaling.isoflop import Curve, Point, beyond, first_plan, together
from harmony_core.scaling.ladder import Ladder
from harmony_core.scaling.rows import points
from harmony_core.scaling.sweep import Sweep, read_rows
from harmony_core.workers import WarmPool

SMALL = """
d_model: 32
vocab_size: 257
blocks:
- {kind: mha, num_heads: 4, head_dim: 8}
- {kind: mlp, d_ff: 64}
"""
CONFIG: dict[str, Any] = {
    "name": "small",
    "budgets": [4e8, 8e8],
    "sizes": 3,
    "spacing": 2.0,
    "tokens_per_param": 0.2,
    "rounds": 1,
    "recipe": {"batch_size": 2, "sequence_length": 32, "validation_tokens": 256, "precision": "fp32"},
    "data": {"source": "synthetic", "max_bytes": 40_000},
}


def ladder(**changes: Any) -> Ladder:
    config = IsoflopConfig.parse({**CONFIG, "architectures": ["llama-nano"], "budgets": [1e13, 1e14, 1e15], **changes})
    return Ladder("llama-nano", load_preset("llama-nano"), config)


def test_a_plan_has_sizes_about_the_expected_minimum_of_each_budget() -> None:
    own = ladder(tokens_per_param=20, sizes=5, spacing=1.5)
    plan = first_plan([own], train_tokens=10**9)
    for budget in own.config.budgets:
        steps = [step for step, paid in plan["llama-nano"].items() if budget in paid]
        assert len(steps) == 5
        ratios = [own.tokens(step, budget) / own.at(step).num_active_non_embedding_params() for step in steps]
        assert ratios == sorted(ratios, reverse=True)
        assert ratios[0] > 20 > ratios[-1]
        for step in steps:
            assert own.tokens(step, budget) * own.flops_per_token(step) == pytest.approx(budget, rel=0.02)
    # Sizes that several budgets share are one training.
    assert any(len(paid) > 1 for paid in plan["llama-nano"].values())


def test_a_text_that_would_be_read_too_often_is_refused_beforehand() -> None:
    own = ladder(tokens_per_param=20, budgets=[1e12, 1e13])
    with pytest.raises(UserError, match=r"^budgets: 1e\+13: llama-nano with \d+ parameters would read 1000000 tokens"):
        first_plan([own], train_tokens=1_000_000)


def test_a_budget_of_a_few_steps_is_refused() -> None:
    own = ladder(budgets=[1e9, 1e13], tokens_per_param=0.01)
    with pytest.raises(UserError, match=r"^budgets: 1e\+09: pays llama-nano with \d+ parameters for \d+ steps"):
        first_plan([own], train_tokens=10**9)


def test_a_curve_whose_best_size_is_at_its_end_gets_another_size() -> None:
    own = ladder(tokens_per_param=20)
    plan = first_plan([own], train_tokens=10**9)
    steps = {
        budget: [step for step, paid in plan["llama-nano"].items() if budget in paid] for budget in own.config.budgets
    }

    def losses(best: dict[float, int]) -> list[Point]:
        return [
            Point(
                Curve("llama-nano", budget),
                own.at(step).num_active_non_embedding_params(),
                1,
                abs(step - best[budget]),
                1,
            )
            for budget, of in steps.items()
            for step in of
        ]

    first, middle, last = own.config.budgets
    ends = {first: steps[first][0], middle: steps[middle][1], last: steps[last][-1]}
    more = beyond([own], plan, losses(ends), 10**9)
    assert more == {"llama-nano": {steps[first][0] - 1: (first,), steps[last][-1] + 1: (last,)}}
    assert (
        beyond([own], together([plan, more]), losses({**ends, first: steps[first][1], last: steps[last][1]}), 10**9)
        == {}
    )
    # Where the text is too short for another size, the curve stays as it is.
    assert beyond([own], plan, losses(ends), 1) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": []}, r"budgets: \[\]: list at least one, each once"),
        ({"budgets": [2e8, 1e8]}, "list them in rising order"),
        ({"architectures": ["a/x.yaml", "b/x.yaml"]}, "two have the same name; rename a file"),
        ({"recipe": {"rungs": [5000]}}, "recipe.rungs: .* they follow from the budgets"),
        ({"recipe": {"schedule": "cosine"}}, "use that"),
        ({"sizes": 2}, "greater than or equal to 3"),
        (
            {"execution": {"machine": "frontier"}},
            r"execution\.machine: frontier: a sweep's trainings have no such thing; leave it out",
        ),
    ],
)
def test_bad_configurations_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        IsoflopConfig.parse({**CONFIG, "architectures": ["llama-nano"], **change})


def test_the_planner_prices_a_sweep() -> None:
    own = ladder(tokens_per_param=20)
    recipe = own.config.recipe.model_copy(update={"tokens": 10**7})
    one, two = (price([(own.at(0), recipe)] * count, Machine.from_yaml("frontier")) for count in (1, 2))
    assert two.device_hours == pytest.approx(2 * one.device_hours)
    assert one.longest_hours == two.longest_hours
    assert "frontier: " in str(one)
    huge = load_preset("stripedhyena-2-40b").replace(vocab_size=257)
    assert price([(huge, recipe)], Machine.from_yaml("h100")).left_out == 1


def test_a_sweep_is_trained_once_and_told_from_its_rows(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    config = IsoflopConfig.parse({**CONFIG, "architectures": [str(tmp_path / "small.yaml")]})
    folder = tmp_path / "results" / "small"
    sweep = Sweep.open(config, folder, lambda line: None)
    # What is only planned leaves nothing behind.
    tell_plan(sweep)
    assert not folder.exists()
    reported: list[str] = []
    pool = WarmPool(folder / "work" / "logs", workers=1)
    rows = sweep.run(pool, lambda row, done, total: reported.append(row["run"]))
    assert rows["status"].unique().to_list() == ["ok"]
    assert rows.group_by("budget").len().filter(rows.group_by("budget").len()["len"] < 3).is_empty()
    # Budgets of one size are rungs of one training, whose device time is told once.
    shared = rows.filter(rows["rung"] == 1)
    assert shared.height > 0
    assert len(reported) == rows["run"].n_unique() == (rows["device_seconds"] > 0).sum()
    for row in rows.iter_rows(named=True):
        assert Architecture.from_json(row["architecture"]).id == row["architecture_id"]
        assert row["flops"] == pytest.approx(row["budget"], rel=0.1)
    # Nothing is trained again, and the same is written.
    before = (folder / "runs.parquet").read_bytes()
    Sweep.open(config, folder, lambda line: None).run(pool, lambda *_: reported.append("again"))
    assert "again" not in reported
    assert (folder / "runs.parquet").read_bytes() == before
    (pairs := sweep.again(shared["run"][0], tmp_path / "again"))
    assert [then["val_loss"] for then, _ in pairs] == [now["val_loss"] for _, now in pairs]
    assert len(pairs) == 2
    text = tell(sweep)
    assert (folder / "laws.txt").read_text() == text + "\n"
    assert {path.name for path in (folder / "figures").glob("isoflop.*")} == {"isoflop.svg", "isoflop.png"}
    assert len(json.loads((folder / "laws.json").read_text())["laws"]) == 3
    assert "exponent of params, small" in text
    assert len(points(read_rows(folder).to_dicts())) == rows.height
    with pytest.raises(UserError, match="changed: seed 0 -> 1"):
        Sweep.open(config.model_copy(update={"seed": 1}), folder, lambda line: None)
