"""What every family of `transformers` models must hold: the same logits, counted exactly, there and back."""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from harmony_core.interop import hf
from harmony_core.interop.hf.normal_form import normal_form

LENGTH = 12


def check_family(hf_model: Any, there_and_back: bool = True) -> None:
    """Reads a model, a small one with random values, and writes it again.

    Args:
        hf_model: a `...ForCausalLM` of `transformers`, fp32.
        there_and_back: whether `export` writes this family.

    Raises:
        AssertionError: logits that differ by more than 1e-4, another number of parameters, or, once exported and read
            again, an architecture that computes something else (how experts are balanced is not written).
    """
    model = hf.from_hf(hf_model).eval()
    ids = torch.randint(model.architecture.vocab_size, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), hf_model.eval()(ids).logits, rtol=1e-4, atol=1e-4)
    assert model.architecture == hf.architecture_from_config(hf_model.config)
    assert model.architecture.num_params() == sum(p.numel() for p in hf_model.parameters())
    if there_and_back:
        with tempfile.TemporaryDirectory() as folder:
            hf.export(model, folder)
            loaded = type(hf_model).from_pretrained(folder)
        assert normal_form(hf.architecture_from_config(loaded.config)) == normal_form(model.architecture)
