"""Sorting by expert, capacity, and the experts' products: slices, few rows and grouped, each beside the loop."""

import pytest
import torch

from harmony_core.models import kernels
from harmony_core.models.expert_parallel import dispatched_experts, group
from harmony_core.models.ops.activation import gates
from harmony_core.models.ops.moe import assignments, experts
from harmony_core.models.ops.moe.grouped_experts import grouped_product_reference
from tests.models.comparison import assert_same, draw

KINDS = ["swiglu", "geglu", "bilinear", "clamped_swiglu", "gelu", "relu2"]


def draw_choices(rows, experts=6, choices=3, seed=0):
    """Different experts for each token; expert 2 is chosen by nobody."""
    scores = torch.rand(rows, experts, generator=torch.Generator().manual_seed(seed))
    scores[:, 2] = -1
    return scores.topk(choices).indices


def draw_kept(chosen, seed=0):
    return torch.rand(chosen.shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def inputs_of(rows, kind, width=8, inner=8):
    wide = inner * gates(kind)
    return draw(rows, width), draw(rows, 3, seed=1), draw(6, wide, width), draw(6, width, inner)


def with_choices(function, chosen, kind, kept):
    return lambda x, w, up, down: function(x, w, chosen, up, down, kind, kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 70])
def test_experts_are_the_loop_over_tokens(rows, dropping, kind):
    chosen = draw_choices(rows)
    kept = draw_kept(chosen) if dropping else None
    inputs = inputs_of(rows, kind)
    fast, plain = (with_choices(f, chosen, kind, kept) for f in (experts.routed_experts, experts.experts_reference))
    assert_same(fast, plain, inputs, 1e-3)
    with torch.no_grad():
        torch.testing.assert_close(fast(*inputs), plain(*inputs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("multiply", [torch.nn.functional.grouped_mm, grouped_product_reference])
def test_grouped_experts_are_the_loop_over_tokens(multiply, rows, dropping, kind, monkeypatch):
    monkeypatch.setattr(experts, "grouped_product", lambda *_: multiply)
    monkeypatch.setattr(experts, "sort_into_slices", None)
    chosen = draw_choices(rows)
    kept = draw_kept(chosen, seed=3) if dropping else None
    fast, plain = (with_choices(f, chosen, kind, kept) for f in (experts.routed_experts, experts.experts_reference))
    assert_same(fast, plain, inputs_of(rows, kind), 1e-3)


def test_grouped_experts_in_bf16(monkeypatch):
    monkeypatch.setattr(experts, "grouped_product", lambda *_: torch.nn.functional.grouped_mm)
    chosen, inputs = draw_choices(64), inputs_of(64, "swiglu")
    with torch.autocast("cpu", torch.bfloat16):
        y = experts.routed_experts(*inputs[:2], chosen, *inputs[2:], "swiglu")
    assert y.dtype == torch.bfloat16
    expected = experts.experts_reference(*inputs[:2], chosen, *inputs[2:], "swiglu")
    got = torch.autograd.grad(y.float().square().sum(), inputs)
    want = torch.autograd.grad(expected.square().sum(), inputs)
    for gradient, exact in zip(got, want, strict=True):
        assert gradient.dtype == torch.float32
        assert torch.cosine_similarity(gradient.flatten(), exact.flatten(), dim=0) > 0.999


def test_the_reference_of_a_grouped_product():
    a, b = draw(10, 4).detach(), draw(3, 4, 8).detach()
    ends = torch.tensor([3, 3, 8], dtype=torch.int32)
    for x, w in ((a, b), (a.T, draw(10, 8).detach())):
        ours, theirs = grouped_product_reference(x, w, offs=ends), torch.nn.functional.grouped_mm(x, w, offs=ends)
        rows = 8 if w.ndim == 3 else 3
        torch.testing.assert_close(ours[:rows], theirs[:rows])


def test_grouped_product_is_for_bf16_on_a_gpu_that_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    kernels._device_grouped_product.cache_clear()
    take = kernels.grouped_product
    assert take("cuda", torch.bfloat16, (64, 24)) is torch.nn.functional.grouped_mm
    assert take("cpu", torch.bfloat16, (64, 24)) is None
    assert take("cuda", torch.float32, (64, 24)) is None
    assert take("cuda", torch.bfloat16, (64, 20)) is None
    kernels._device_grouped_product.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert take("cuda", torch.bfloat16, (64, 24)) is None
    kernels._device_grouped_product.cache_clear()


def test_experts_keep_rows_projections_and_opened_gates_alone():
    chosen, (x, weights, up, down) = draw_choices(150), inputs_of(150, "swiglu")
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        experts.routed_experts(x, weights, chosen, up, down, "swiglu")
    inputs = {t.data_ptr() for t in (x, weights, up, down)}
    filled = sum(end - start for _, start, end in assignments.sort_into_slices(chosen, None, 6)[1])
    assert sum(t.numel() for t in kept if t.data_ptr() not in inputs) == filled * (8 + 8 + 16 + 8)


def test_experts_under_autocast_give_gradients_in_fp32():
    chosen, inputs = draw_choices(30), inputs_of(30, "swiglu")
    with torch.autocast("cpu", torch.bfloat16):
        y = experts.routed_experts(*inputs[:2], chosen, *inputs[2:], "swiglu")
        with torch.no_grad():
            few = experts.routed_experts(inputs[0][:4], inputs[1][:4], chosen[:4], *inputs[2:], "swiglu")
    assert y.dtype == few.dtype == torch.bfloat16
    torch.testing.assert_close(few, y[:4], rtol=2e-2, atol=2e-2)
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(y.float().sum(), inputs))


def test_no_token_at_all():
    inputs = inputs_of(0, "swiglu")
    y = experts.routed_experts(*inputs[:2], draw_choices(0), *inputs[2:], "swiglu")
    assert y.shape == (0, 8)
    assert all(not g.any() for g in torch.autograd.grad(y.sum(), inputs))


@pytest.mark.parametrize("dropping", [False, True])
def test_every_sort_says_the_same(dropping, monkeypatch):
    chosen = draw_choices(20)
    kept = draw_kept(chosen) if dropping else None
    few, few_slices = assignments.sort_into_slices(chosen, kept, 6)
    monkeypatch.setattr(assignments, "FEW", 0)
    many, slices = assignments.sort_into_slices(chosen, kept, 6)
    grouped, ends = assignments.sort_into_groups(chosen, kept, 6)
    counted = chosen.numel() if kept is None else int(kept.sum())
    assert few_slices == slices
    assert few_slices[-1][2] == counted == ends[-1]
    for sort in (few, many, grouped):
        assert torch.equal(sort.place_RK, few.place_RK)
        assert torch.equal(sort.token_A[:counted], few.token_A)
    for expert, start, end in slices:
        assert ends[expert] == end
        assert [chosen[t].tolist().count(expert) for t in few.token_A[start:end].tolist()] == [1] * (end - start)


def test_few_rows_in_even_slices():
    chosen = draw_choices(7)
    assigned, slices = assignments.sort_into_slices(chosen, None, 6, even=True)
    plain, counts = assignments.sort_into_slices(chosen, None, 6)
    assert [(expert, end - start) for expert, start, end in slices] == [
        (expert, end - start + (end - start) % 2) for expert, start, end in counts
    ]
    assert any((end - start) % 2 for _, start, end in counts)
    assert torch.equal(assigned.token_A[assigned.place_RK], plain.token_A[plain.place_RK])
    assert all(start <= place < end for expert, start, end in slices for place in assigned.place_RK[chosen == expert])


def test_filling_rows_stay_few():
    chosen = torch.randint(8, (4096, 1), generator=torch.Generator().manual_seed(0))
    assigned, slices = assignments.sort_into_slices(chosen, None, 8)
    assert all((end - start) % 64 == 0 for _, start, end in slices)
    assert len(assigned.token_A) == slices[-1][2] < 4096 * 1.125 + 64
    few, _ = assignments.sort_into_slices(chosen[:9], None, 8)
    assert len(few.token_A) == 9


def test_spread_and_collect_are_inverse_on_kept_choices():
    chosen = draw_choices(90)
    kept = draw_kept(chosen)
    assigned, _ = assignments.sort_into_slices(chosen, kept, 6)
    weights = draw(90, 3).detach()
    rows = assigned.spread(weights)
    assert torch.equal(assigned.collect(rows), weights * kept)
    assert torch.count_nonzero(rows) == kept.sum() < len(rows)


@pytest.mark.parametrize("capacity", [1, 3, 100])
def test_capacity_takes_the_first_of_each_sequence(capacity):
    chosen = torch.stack([draw_choices(11, seed=seed) for seed in range(3)])
    kept = assignments.within_capacity(chosen, 6, capacity)
    for sequence, decided in zip(chosen.tolist(), kept.tolist(), strict=True):
        taken = [0] * 6
        for token, verdicts in zip(sequence, decided, strict=True):
            for expert, verdict in zip(token, verdicts, strict=True):
                assert verdict == (taken[expert] < capacity)
                taken[expert] += 1


def test_capacity_does_not_look_ahead():
    chosen = draw_choices(30).unsqueeze(0)
    changed = chosen.clone()
    changed[:, 17:] = draw_choices(13, seed=5)
    before, after = (assignments.within_capacity(c, 6, 4)[:, :17] for c in (chosen, changed))
    assert torch.equal(before, after)
    assert not before.all()


@pytest.mark.parametrize(("ranks", "held"), [(1, 4), (3, 2), (4, 1)])
def test_rows_of_several_ranks_are_ordered_without_a_sort(ranks, held):
    counts = torch.randint(0, 5, (ranks, held), generator=torch.Generator().manual_seed(ranks))
    expert = torch.arange(held).repeat(ranks).repeat_interleave(counts.flatten())
    order = assignments.order_by_expert(counts, len(expert))
    assert torch.equal(order, expert.argsort(stable=True))
    known = assignments.sort_into_groups(expert.unsqueeze(1), None, held, order)
    sorted_here = assignments.sort_into_groups(expert.unsqueeze(1), None, held)
    assert all(torch.equal(a, b) for a, b in zip(known, sorted_here, strict=False) if isinstance(a, torch.Tensor))
    assert torch.equal(known[0].place_RK, sorted_here[0].place_RK)


def test_a_product_an_expert_is_not_called_one_kernel(monkeypatch):
    up, down = torch.empty(2, 16, 8, dtype=torch.bfloat16), torch.empty(2, 8, 16, dtype=torch.bfloat16)
    monkeypatch.setattr(experts, "grouped_product", lambda *_: grouped_product_reference)
    for capability, one in (((8, 0), False), ((9, 0), True), ((10, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        assert (experts.experts_path(up, down) == "grouped GEMM") == one
    monkeypatch.setattr(torch.version, "hip", "7.1")
    for architecture, one in (("gfx90a", False), ("gfx942", True)):
        monkeypatch.setattr(kernels, "gpu_architecture", lambda architecture=architecture: architecture)
        assert (experts.experts_path(up, down) == "grouped GEMM") == one


def test_shared_experts_are_computed_while_rows_travel_forward_and_backward(monkeypatch):
    said = []

    class Work:
        def wait(self):
            said.append("arrived")

    def all_to_all(answer, rows, received=None, sent=None, group=None, async_op=False):
        answer.copy_(rows)
        if async_op:
            said.append("departed")
            return Work()

    monkeypatch.setattr(group.dist, "all_to_all_single", all_to_all)
    monkeypatch.setattr(group.dist, "get_world_size", lambda _: 1)
    x, weights, up, down = inputs_of(20, "swiglu")
    shared = torch.nn.Linear(8, 8)
    shared.register_forward_hook(lambda *_: said.append("shared"))
    chosen = draw_choices(20)
    y, other = dispatched_experts(
        x, weights, chosen, up, down, "swiglu", None, group.ExpertParallel(None), meanwhile=lambda: shared(x)
    )
    assert said == ["departed", "shared", "arrived", "departed", "arrived"]
    torch.testing.assert_close(y, experts.experts_reference(x, weights, chosen, up, down, "swiglu"))
    said.clear()
    shared.weight.register_hook(lambda _: said.append("shared"))
    (y + other).sum().backward()
    assert said == ["departed", "arrived", "departed", "shared", "arrived"]
