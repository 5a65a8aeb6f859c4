"""Training tokens per second beside the same architecture from `transformers` in a plain AdamW loop.

Two processes of one thread each hold one side each and take turns, a few steps at a time, so that drift of the
machine hits both; nothing is compiled on either side; both start from the same weights and read the same
batches of the standard library's own source text.

    python -m benchmarks.training_throughput [--families llama mixtral mamba2] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH, LENGTH, VOCAB, WIDTH = 16, 256, 257, 128
LEARNING_RATE = 3e-3
STEPS_A_ROUND, WARMUP_STEPS = 3, 3
PROMISES = {"llama": 1.3, "mixtral": 1.5, "mamba2": 1.5}
SIDES = ("harmony", "transformers")
GROUPS = {
    "products with weights": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "products between activations": ("aten::bmm",),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::index_select", "aten::fill_"),
    "exponentials and gates": ("aten::silu", "aten::silu_backward", "aten::exp_", "aten::exp", "aten::softplus"),
    "additions and multiplications": ("aten::mul", "aten::mul_", "aten::add", "aten::add_", "aten::sub"),
    "multiply-adds and sums": ("aten::addcmul_", "aten::addcmul", "aten::sum", "aten::linalg_vector_norm"),
    "AdamW": ("aten::_fused_adamw_",),
}
TABLE = "{:8} {:5} {:>9} {:>12} {:>6} {:>10} {:>8} {:>10}"


def architecture(family: str) -> Any:
    """The nano model of a family, as a HARMONY architecture."""
    from harmony_core import Architecture

    attention = {"kind": "gqa", "num_heads": 4, "num_kv_heads": 2, "head_dim": 32}
    layers = {
        "llama": [attention, {"kind": "mlp", "d_ff": 352}],
        "mixtral": [attention, {"kind": "moe", "n_routed": 8, "top_k": 2, "d_expert": 176, "balancing": "none"}],
        "mamba2": 2 * [{"kind": "mamba2", "d_state": 64, "head_dim": 32}],
    }
    return Architecture.parse({"d_model": WIDTH, "vocab_size": VOCAB, "blocks": 4 * layers[family]})


def transformers_twin(family: str, ours: Any) -> Any:
    """The model of `transformers` with the weights of ours; its defaults wherever the shape leaves a choice."""
    import transformers as hf

    common = {"vocab_size": VOCAB, "hidden_size": WIDTH, "tie_word_embeddings": True, "num_hidden_layers": 4}
    tokens = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-5}
    if family == "llama":
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**common, **tokens, **heads, intermediate_size=352))
    elif family == "mixtral":
        experts = {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 176, "rope_theta": 1e4}
        model = hf.MixtralForCausalLM(hf.MixtralConfig(**common, **tokens, **heads, **experts))
    else:
        common["num_hidden_layers"] = 8
        scan = {"state_size": 64, "head_dim": 32, "num_heads": 8, "n_groups": 1, "chunk_size": 64}
        model = hf.Mamba2ForCausalLM(hf.Mamba2Config(**common, **tokens, **scan, layer_norm_epsilon=1e-5))
    missing = model.load_state_dict(twin_weights(family, ours), strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        raise RuntimeError(f"the models differ: {missing}")
    return model


def twin_weights(family: str, ours: Any) -> dict[str, Any]:
    """Our weights under the names of `transformers`."""
    from harmony_core.models.ops.attention.rotary import halves_from_pairs

    stem = "backbone" if family == "mamba2" else "model"
    table = {f"{stem}.embed_tokens.weight": ours.embedding, f"{stem}.norm.weight": ours.norm.weight}
    if family == "mamba2":
        table = {f"{stem}.embeddings.weight": ours.embedding, f"{stem}.norm_f.weight": ours.norm.weight}
        for index, block in enumerate(ours.blocks):
            table |= {f"{stem}.layers.{index}.{name}": w for name, w in mamba2_weights(block).items()}
        return {name: weight.detach().clone() for name, weight in table.items()}
    for index in range(0, len(ours.blocks), 2):
        mixer, channel, prefix = ours.blocks[index], ours.blocks[index + 1], f"{stem}.layers.{index // 2}."
        q, k, v = mixer.inner.qkv.split((128, 64, 64))
        q, k = halves_from_pairs(q, 32), halves_from_pairs(k, 32)
        table |= {prefix + "self_attn.q_proj.weight": q, prefix + "self_attn.k_proj.weight": k}
        table |= {prefix + "self_attn.v_proj.weight": v, prefix + "self_attn.o_proj.weight": mixer.inner.out}
        table |= {prefix + "input_layernorm.weight": mixer.norm.weight}
        table |= {prefix + "post_attention_layernorm.weight": channel.norm.weight}
        table |= {prefix + name: w for name, w in channel_weights(family, channel.inner).items()}
    return {name: weight.detach().clone() for name, weight in table.items()}


def channel_weights(family: str, inner: Any) -> dict[str, Any]:
    """A dense or a mixture-of-experts channel mixer."""
    if family == "llama":
        gate, up = inner.up.chunk(2)
        return {"mlp.gate_proj.weight": gate, "mlp.up_proj.weight": up, "mlp.down_proj.weight": inner.down}
    experts = {"mlp.experts.gate_up_proj": inner.up, "mlp.experts.down_proj": inner.down}
    return {"mlp.gate.weight": inner.router.weight, **experts}


def mamba2_weights(block: Any) -> dict[str, Any]:
    """A Mamba-2 block with its norm."""
    inner = block.inner
    return {
        "norm.weight": block.norm.weight,
        "mixer.in_proj.weight": inner.in_proj,
        "mixer.conv1d.weight": inner.conv.unsqueeze(1),
        "mixer.conv1d.bias": inner.conv_bias,
        "mixer.dt_bias": inner.dt_bias,
        "mixer.A_log": inner.a_log,
        "mixer.D": inner.skip,
        "mixer.norm.weight": inner.norm.weight,
        "mixer.out_proj.weight": inner.out,
    }


def text_tokens() -> Any:
    """Bytes of the standard library's modules in order of name, int64."""
    import torch

    folder = Path(os.__file__).parent
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def serve(side: str, family: str, precision: str) -> None:
    """One side: reads a number of steps a line, answers with its seconds and losses."""
    import torch

    torch.set_num_threads(1)
    # What libraries print goes to standard error: standard output is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    step = our_step(family, precision) if side == "harmony" else their_step(family, precision)
    tokens, position = text_tokens(), 0
    for line in sys.stdin:
        losses, start = [], time.perf_counter()
        for _ in range(int(line)):
            window = tokens[position : position + BATCH * (LENGTH + 1)].view(BATCH, LENGTH + 1)
            position += BATCH * (LENGTH + 1)
            losses.append(step(window))
        print(json.dumps({"seconds": time.perf_counter() - start, "losses": losses}), file=answers, flush=True)


def our_step(family: str, precision: str) -> Callable[[Any], float]:
    """A step of the trainer, DeepSpeed's engine and all; returns the loss before it, in nats."""
    import torch

    from harmony_core.training.learner import Learner
    from harmony_core.training.recipe import Recipe

    shape = {"batch_size": BATCH, "sequence_length": LENGTH, "tokens": BATCH * LENGTH}
    recipe = Recipe.parse({**shape, "learning_rate": LEARNING_RATE, "weight_decay": 0.0, "precision": precision})
    learner = Learner(architecture(family), recipe, 0, torch.device("cpu"))
    return lambda window: learner.step(window.numpy(), 1.0).cross_entropy


def their_step(family: str, precision: str) -> Callable[[Any], float]:
    """A step of a plain AdamW loop over the model of `transformers`."""
    import torch

    from harmony_core.models import build

    model = transformers_twin(family, build(architecture(family), init_seed=0)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)

    def step(window: Any) -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(input_ids=window[:, :-1]).logits.float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def breakdown(family: str, precision: str) -> None:
    """Prints where a step of ours spends its time, and the time of its arithmetic at the machine's best product."""
    import torch

    from harmony_core.models.ops.matmul import product

    torch.set_num_threads(1)
    step = our_step(family, precision)
    windows = text_tokens()[: 9 * BATCH * (LENGTH + 1)].view(9, BATCH, LENGTH + 1)
    for window in windows[:6]:
        step(window)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        start = time.perf_counter()
        for window in windows[6:]:
            step(window)
        seconds = (time.perf_counter() - start) / 3
    shares = dict.fromkeys([*GROUPS, "everything else"], 0.0)
    for event in profile.key_averages():
        group = next((name for name, ops in GROUPS.items() if event.key in ops), "everything else")
        shares[group] += event.self_cpu_time_total / 3e6
    for group, spent in shares.items():
        print(f"{group:30} {1e3 * spent:7.1f} ms {spent / sum(shares.values()):6.1%}")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x, w = torch.randn(4096, 256).to(dtype), torch.randn(1024, 256).to(dtype)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        product(x, w)
        times.append(time.perf_counter() - start)
    rate = 2 * 4096 * 256 * 1024 / min(times)
    needed = architecture(family).flops_per_token(LENGTH) * BATCH * LENGTH / rate
    print(
        f"step under the profiler {1e3 * seconds:.0f} ms; its FLOPs at {rate / 1e9:.0f} GFLOP/s: {1e3 * needed:.0f} ms"
    )


def compare(family: str, precision: str, rounds: int) -> dict[str, Any]:
    """Both sides in turns; medians over rounds, the ratio's range and the largest relative difference of losses."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    workers = {}
    for side in SIDES:
        command = [sys.executable, "-m", "benchmarks.training_throughput", "--serve", side, family, precision]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers[side] = subprocess.Popen(command, env=environment, **pipes)
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    losses: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(rounds + 1):
        for side in SIDES if number % 2 else SIDES[::-1]:
            steps = STEPS_A_ROUND if number else WARMUP_STEPS
            answer = ask(workers[side], steps)
            losses[side] += answer["losses"]
            if number:
                speeds[side].append(steps * BATCH * LENGTH / answer["seconds"])
    for worker in workers.values():
        worker.communicate()
    ratios = [ours / theirs for ours, theirs in zip(*(speeds[side] for side in SIDES), strict=True)]
    differences = [abs(a - b) / b for a, b in zip(*(losses[side] for side in SIDES), strict=True)]
    return {
        "family": family,
        "precision": precision,
        **{f"{side}_tokens_per_second": round(statistics.median(speeds[side])) for side in SIDES},
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "promise": PROMISES[family],
        "steps": len(differences),
        "first_loss": round(losses["harmony"][0], 4),
        "last_loss": round(losses["harmony"][-1], 4),
        "first_relative_loss_difference": float(f"{differences[0]:.1e}"),
        "max_relative_loss_difference": float(f"{max(differences):.1e}"),
    }


def ask(worker: subprocess.Popen[str], steps: int) -> dict[str, Any]:
    """Has one side take some steps."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{steps}\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError("a side of the benchmark died; its error is above")
    answer: dict[str, Any] = json.loads(line)
    return answer


def main() -> int:
    """Runs every pair that was asked for; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=PROMISES, default=list(PROMISES))
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--breakdown", nargs=2, metavar=("FAMILY", "PRECISION"), help="profile our side alone")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.breakdown:
        breakdown(*arguments.breakdown)
        return 0
    if arguments.serve:
        serve(*arguments.serve)
        return 0
    from importlib.metadata import version

    rows = []
    print(TABLE.format("family", "type", *SIDES, "ratio", "range", "promise", "loss diff."))
    for family in arguments.families:
        for precision in arguments.precisions:
            row = compare(family, precision, arguments.rounds)
            rows.append(row)
            speeds = [f"{row[f'{side}_tokens_per_second']:,}" for side in SIDES]
            spread = f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}"
            cells = (*speeds, row["ratio"], spread, row["promise"], row["max_relative_loss_difference"])
            print(TABLE.format(family, precision, *cells), flush=True)
    from benchmarks.common import write_result

    shape = {"batch": BATCH, "sequence_length": LENGTH, "d_model": WIDTH, "threads": 1, "rounds": arguments.rounds}
    write_result("training_throughput", {**shape, "transformers": version("transformers"), "rows": rows})
    return int(any(row["ratio"] < row["promise"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
