"""Training at three sizes beside `transformers`, from the same weights: tokens a second, first loss, memory."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_check.clock import OURS, beside
from benchmarks.gpu_check.row import attempted, said
from benchmarks.gpu_check.settings import SEED, Before, Row, Setting
from harmony_core.architecture import Architecture
from harmony_core.training.learner import Learner
from harmony_core.training.precision import autocast
from harmony_core.training.recipe import Recipe, ResolvedPrecision

PEER = "transformers"
_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Model:
    """A Llama and the batch that it is trained on.

    Args:
        name: about how many parameters it has.
        d_model: D.
        layers: pairs of attention and feed-forward.
        heads: of queries; half as many of keys and values.
        d_ff: inner width of the feed-forward.
        vocab_size: V.
        batch_size: sequences a step.
        length: tokens of each.
    """

    name: str
    d_model: int
    layers: int
    heads: int
    d_ff: int
    vocab_size: int = 32_000
    batch_size: int = 8
    length: int = 1024

    def architecture(self) -> Architecture:
        """It as ours."""
        attention = {"kind": "gqa", "num_heads": self.heads, "num_kv_heads": self.heads // 2}
        attention["head_dim"] = self.d_model // self.heads
        blocks = self.layers * [attention, {"kind": "mlp", "d_ff": self.d_ff}]
        return Architecture.parse({"d_model": self.d_model, "vocab_size": self.vocab_size, "blocks": blocks})

    def twin(self) -> Any:
        """It as a model of `transformers`, fp32 on the CPU, with PyTorch's own attention."""
        import transformers as hf

        config = hf.LlamaConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.d_model,
            intermediate_size=self.d_ff,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads // 2,
            max_position_embeddings=self.length,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            pad_token_id=None,
        )
        torch.manual_seed(SEED)
        return hf.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)


MODELS = (
    Model("125M", 768, 12, 12, 2048),
    Model("350M", 1024, 24, 16, 2816),
    Model("1.3B", 2048, 24, 16, 5632, batch_size=4),
)
_SMALL = (Model("small", 16, 1, 2, 24, vocab_size=29, batch_size=2, length=8),)


def models(setting: Setting) -> tuple[Model, ...]:
    """Those that are trained."""
    return setting.choose(MODELS, _SMALL)


def precision(setting: Setting) -> ResolvedPrecision:
    """What products are computed in."""
    return setting.choose("bf16", "fp32")


def rows(setting: Setting, before: Before) -> Iterator[Row]:
    """A row a model."""
    for model in models(setting):
        identity = {"model": model.name, "batch_size": model.batch_size, "tokens_a_sequence": model.length}
        identity |= {"parameters": model.architecture().num_params(), "precision": precision(setting)}
        yield attempted(identity, _measured, model, setting)
        if not setting.small:
            torch.cuda.empty_cache()


def _measured(model: Model, setting: Setting) -> Row:
    """Ours, and where it can be had the twin, in turns: a whole optimiser step each."""
    rng = np.random.default_rng(np.random.SeedSequence(SEED))
    rows_BT = rng.integers(0, model.vocab_size, (model.batch_size, model.length + 1))
    # An earlier model's engine may still hold its own.
    gc.collect()
    held = 0 if setting.small else torch.cuda.memory_allocated()
    learner = _learner(model, setting)
    twin, missing = _twin_of(model, learner)
    sides: dict[str, Callable[[], float]] = {OURS: lambda: learner.step(rows_BT, 1.0).cross_entropy}
    losses, memory = {OURS: sides[OURS]()}, None
    if not setting.small:
        torch.cuda.reset_peak_memory_stats()
        sides[OURS]()
        memory = torch.cuda.max_memory_allocated() - held
    if twin is not None:
        sides[PEER] = _their_step(twin, torch.from_numpy(rows_BT).to(setting.device), setting)
        losses[PEER] = sides[PEER]()
    found = beside(sides, setting)
    tokens = model.batch_size * model.length
    speeds = {name: round(1e3 * tokens / each["median"]) for name, each in found["milliseconds"].items()}
    flops = model.architecture().flops_per_token(model.length, "train") * speeds[OURS]
    return {
        "tokens_per_second": speeds,
        **found,
        "first_loss": losses,
        "peak_memory_bytes": memory,
        "flops_per_second": flops,
        "not_measured": missing,
    }


def _learner(model: Model, setting: Setting) -> Learner:
    """The trainer's own: of one process, a plain loop without DeepSpeed."""
    tokens = model.batch_size * model.length
    recipe = Recipe(
        tokens=tokens,
        batch_size=model.batch_size,
        sequence_length=model.length,
        learning_rate=_RATE,
        weight_decay=0.0,
        validation_tokens=model.length,
        precision=precision(setting),
    )
    return Learner(model.architecture(), recipe, SEED, torch.device(setting.device))


def _twin_of(model: Model, learner: Learner) -> tuple[Any, dict[str, str]]:
    """The twin on the CPU, its weights given to ours as well; or why there is none."""
    try:
        from harmony_core.interop.hf import from_hf

        twin = model.twin()
        ours = from_hf(twin)
    except ImportError as error:
        return None, {PEER: said(error)}
    if ours.architecture.id != model.architecture().id:
        raise RuntimeError(f"the twin is {ours.architecture.id} and not {model.architecture().id}")
    learner.stage.load_state_dict(ours.state_dict())
    return twin, {}


def _their_step(twin: Any, rows_BT: Tensor, setting: Setting) -> Callable[[], float]:
    """A step of a plain loop with PyTorch's fused AdamW; returns the loss before it."""
    device = torch.device(setting.device)
    twin = twin.to(device).train()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision(setting)):
            logits_BTV = twin(input_ids=rows_BT[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits_BTV.float().flatten(0, 1), rows_BT[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step
