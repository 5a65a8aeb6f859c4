"""`torch.compile` as an option: the same numbers, and said in the kernels' line."""

import pytest
import torch

from tests.models.test_conformance import draw_tokens, model_of


@pytest.mark.slow
def test_compiled_blocks_have_the_same_loss_and_gradients(tmp_path, monkeypatch):
    # What another instruction set compiled into the shared cache would be taken for this one's, and crash.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled = (model_of("gqa", "mlp") for _ in range(2))
    compiled.compile_blocks()
    tokens = draw_tokens()
    for model in (plain, compiled):
        model.loss(tokens[:, :-1], tokens[:, 1:]).total.backward()
    for (name, expected), got in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2, "nothing was compiled"
    assert compiled.kernel_paths()[-1] == "torch.compile"
    assert "torch.compile" not in plain.kernel_paths()


def test_blocks_are_traced_under_autocast():
    """Without a compiler: tracing alone is what autocast, as recipes in bf16 have it, once made impossible."""
    plain, traced = (model_of("mlp") for _ in range(2))
    for block in traced.residual_blocks().values():
        block.compile(backend="aot_eager")
    tokens, losses = draw_tokens(), []
    for model in (plain, traced):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(model.loss(tokens[:, :-1], tokens[:, 1:]).total)
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=0)
    gradients = [torch.cat([p.grad.flatten() for p in model.parameters()]) for model in (plain, traced)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999
