"""Rotary positions: frequencies are those of transformers, turns are those of the formula."""

import math
import random

import pytest
import torch

from harmony_core.architecture import RopeScaling
from harmony_core.models.ops.attention import rope_table, rotary
from harmony_core.models.ops.attention.rope_table import RotaryTable
from tests.models.comparison import assert_same, draw

CPU = torch.device("cpu")


def random_case(method, seed):
    """Width, base and scaling, and the same as a transformers configuration says it."""
    dice = random.Random(f"{method}{seed}")
    width, base = 2 * dice.randint(1, 64), 10 ** dice.uniform(2, 6)
    fields = {"method": method, "factor": dice.choice([1.0, dice.uniform(1, 40)])}
    parameters = {"rope_type": method, "rope_theta": base, "factor": fields["factor"]}
    if method in ("dynamic", "longrope"):
        width += 2
    if method != "linear":
        fields["original_context"] = parameters["original_max_position_embeddings"] = dice.choice(
            [dice.randint(1, 16), dice.randint(17, 10**5)]
        )
    if method == "llama3":
        low = dice.uniform(0.1, 4)
        fields |= {"low_frequency_factor": low, "high_frequency_factor": low + dice.uniform(0.1, 8)}
        parameters |= {"low_freq_factor": low, "high_freq_factor": fields["high_frequency_factor"]}
    if method == "yarn":
        slow = dice.uniform(0.1, 4)
        own = {"beta_slow": slow, "beta_fast": slow + dice.uniform(0.1, 60), "truncate": dice.random() < 0.5}
        own["attention_factor"] = dice.choice([None, dice.uniform(0.2, 3)])
        fields |= own
        parameters |= own
    if method == "longrope":
        fields["original_context"] = parameters["original_max_position_embeddings"] = dice.randint(2, 10**5)
        for name in ("short_factor", "long_factor"):
            parameters[name] = [dice.uniform(0.5, 9) for _ in range(width // 2)]
            fields[f"{name}s"] = tuple(parameters[name])
        fields["attention_factor"] = parameters["attention_factor"] = dice.choice([None, dice.uniform(0.2, 3)])
    return width, base, RopeScaling(**fields), parameters


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("method", ["linear", "llama3", "yarn", "dynamic", "longrope"])
def test_frequencies_are_those_of_transformers(method, seed):
    rope_utils = pytest.importorskip("transformers.modeling_rope_utils")
    from transformers import LlamaConfig

    width, base, scaling, parameters = random_case(method, seed)
    config = LlamaConfig(hidden_size=4 * width, num_attention_heads=4, head_dim=width, rope_parameters=parameters)
    context = scaling.original_context or 1
    config.max_position_embeddings = context
    for length in (1, context, context + 1, 3 * context):
        expected, factor = rope_utils.ROPE_INIT_FUNCTIONS[method](config, CPU, seq_len=length)
        found = rope_table.rotary_frequencies(width, base, scaling, length)
        torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=0)
        assert rope_table.attention_factor(scaling) == pytest.approx(factor, rel=1e-12)


def test_frequencies_of_a_length_are_in_its_table():
    """Whatever was asked for before: of a longer sequence, of a shorter one, and of one position."""
    for method in ("dynamic", "longrope"):
        width, base, scaling, _ = random_case(method, 1)
        table, context = RotaryTable(width, base, scaling), scaling.original_context
        for start, stop in ((0, context + 3), (0, context), (0, context + 5), (context + 1, context + 2)):
            frequencies_J = rope_table.rotary_frequencies(width, base, scaling, stop)
            angles_TJ = torch.arange(start, stop, dtype=torch.float64)[:, None] * frequencies_J
            size_TJ = torch.full_like(angles_TJ, rope_table.attention_factor(scaling))
            expected = torch.polar(size_TJ, angles_TJ).to(torch.complex64)
            assert torch.equal(table.slice(start, stop, CPU), expected)
        assert torch.equal(table.at(context + 1, CPU), expected[0])


def test_a_ramp_without_width_is_a_step():
    # Both bounds of the ramp fall on frequency 0: it alone is left alone.
    scaling = RopeScaling(method="yarn", factor=8, original_context=6)
    ratio = rope_table.rotary_frequencies(16, 1e4) / rope_table.rotary_frequencies(16, 1e4, scaling)
    torch.testing.assert_close(ratio, torch.tensor([1.0] + 7 * [8.0], dtype=torch.float64))


def test_each_method_changes_the_frequencies_where_it_says():
    plain = rope_table.rotary_frequencies(64, 1e4)
    turns = 4096 * plain / (2 * math.pi)
    for scaling, low, high in (
        (RopeScaling(method="llama3", factor=8, original_context=4096), 1, 4),
        (RopeScaling(method="yarn", factor=8, original_context=4096), 1 / 2, 64),
    ):
        ratio = plain / rope_table.rotary_frequencies(64, 1e4, scaling)
        torch.testing.assert_close(ratio[turns > high], torch.ones(int((turns > high).sum())).double())
        torch.testing.assert_close(ratio[turns < low], torch.full((int((turns < low).sum()),), 8.0).double())
        assert ((ratio > 1.01) & (ratio < 7.9)).any()


def test_a_table_grows_by_doubling_and_keeps_its_values():
    table = RotaryTable(8, 100.0)
    early = table.slice(3, 5, CPU).clone()
    made = []
    table._make = lambda start, stop, length: made.append(stop) or RotaryTable._make(table, start, stop, length)
    torch.testing.assert_close(table.slice(3, 5, CPU), early)
    for position in range(300):
        table.slice(position, position + 1, CPU)
    assert made == [128, 256, 512]
    assert torch.equal(table.slice(3, 5, CPU), early)
    angle = 299 * 100.0 ** (-2 / 8)
    assert table.slice(299, 300, CPU)[0, 1].angle().item() == pytest.approx(math.remainder(angle, math.tau), abs=1e-5)


def test_blocks_with_the_same_positions_share_a_table():
    scaling = {"method": "linear", "factor": 2.0}
    first = rope_table.rotary_table(8, 100.0, RopeScaling(**scaling))
    assert rope_table.rotary_table(8, 100.0, RopeScaling(**scaling)) is first
    assert rope_table.rotary_table(8, 100.0) is not first


def test_a_table_that_inference_made_first_serves_training():
    table = RotaryTable(8, 77.0)
    with torch.inference_mode():
        table.slice(0, 9, CPU)
    x = draw(1, 9, 2, 8)
    rotary.rotate(x, table.slice(0, 9, CPU)).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("shape", "width", "heads", "first"),
    [
        ((2, 9, 3, 8), 8, None, 0),
        ((2, 9, 5, 8), 8, 3, 0),
        ((2, 9, 3, 12), 4, None, 0),
        ((2, 9, 3, 12), 4, None, 8),
        ((1, 7, 2, 9), 4, 1, 0),
        ((1, 7, 2, 9), 4, None, 5),
        ((1, 1, 1, 9), 4, None, 5),
    ],
    ids=["whole", "some-heads", "first-elements", "last-elements", "odd-head", "odd-offset", "one-row-at-odd-offset"],
)
def test_rotary(shape, width, heads, first):
    scaling = RopeScaling(method="yarn", factor=4, original_context=16, attention_factor=1.3)
    turns = RotaryTable(width, 100.0, scaling).slice(3, 3 + shape[1], CPU)
    x = draw(*shape)
    assert_same(
        lambda x: rotary.rotate(x, turns, heads, first),
        lambda x: rotary.rotate_reference(x, turns, heads, first),
        (x,),
    )
    with torch.no_grad():
        owned = rotary.rotate_owned(x.clone(), turns, heads, first)
    torch.testing.assert_close(owned, rotary.rotate_reference(x, turns, heads, first).detach())


def test_rotation_is_fp32_under_autocast():
    turns = RotaryTable(8, 100.0).slice(0, 9, CPU)
    x = draw(2, 9, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = rotary.rotate(x.bfloat16(), turns)
        assert rotary.rotate(x, turns).dtype == torch.float32
    expected = rotary.rotate_reference(x.bfloat16().float(), turns).bfloat16()
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low, expected, rtol=0, atol=0.02)


def test_rotary_scores_depend_on_distance_alone():
    turns = RotaryTable(8, 100.0).slice(0, 12, CPU)
    q, k = draw(1, 1, 1, 8).expand(1, 12, 1, 8), draw(1, 1, 1, 8, seed=5).expand(1, 12, 1, 8)
    scores = torch.einsum("bihk,bjhk->ij", rotary.rotate(q, turns), rotary.rotate(k, turns))
    assert scores[7, 3].item() == pytest.approx(scores[11, 7].item(), abs=1e-5)
    assert abs(scores[7, 3].item() - scores[7, 4].item()) > 1e-3


def test_rotary_orders_are_inverse_and_mean_what_llama_means():
    w, head = draw(16, 5), 8
    pairs = rotary.pairs_from_halves(w, head)
    assert torch.equal(rotary.halves_from_pairs(pairs, head), w)
    assert torch.equal(pairs[1], w[4])
    assert torch.equal(pairs[2], w[1])
    assert torch.equal(pairs[8 + 3], w[8 + 5])
