"""What every preset is and computes, pinned: its id, and logits, loss and gradient with weights from a seed.

A change here means that stored results are of other models than they say. Do not correct: raise the architecture's
schema version, with both readable. `python tests/models/test_golden.py` writes the values of a new preset.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.errors import UserError
from harmony_core.models import build

FILE = Path(__file__).with_name("golden.json")
GOLDEN: dict[str, dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else {}
WIDTHS = (64, 128, 256, 512)
BATCH, LENGTH, VOCABULARY = 2, 80, 257
POSITIONS, TOKENS = (0, 1, 17, 40, 79), (0, 1, 97, 101, 128, 256)


def computed(name: str) -> Architecture:
    """A nano preset as it is; of a large one each of its blocks once, in the narrowest model that they fit."""
    architecture = load_preset(name)
    if name.endswith("-nano"):
        return architecture
    for width in WIDTHS:
        try:
            blocks = tuple(dict.fromkeys(architecture.blocks))
            return architecture.replace(d_model=width, vocab_size=VOCABULARY, blocks=blocks)
        except UserError:
            continue
    raise AssertionError(f"{name} fits none of the widths {WIDTHS}")


def measured(name: str) -> dict[str, Any]:
    """Id, a few logits [B, positions, tokens], the mean loss in nats and the norm of its gradient."""
    model = build(computed(name), init_seed=3)
    tokens_BT = torch.randint(VOCABULARY, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits_BTV = model.eval()(tokens_BT[:, :-1])
    loss = model.train().loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).total
    loss.backward()
    squares = sum(float(parameter.grad.double().square().sum()) for parameter in model.parameters())
    chosen = logits_BTV[:, list(POSITIONS)][..., list(TOKENS)]
    values = {"logits": chosen.tolist(), "loss": loss.item(), "gradient_norm": squares**0.5}
    return {
        "id": load_preset(name).id,
        **json.loads(json.dumps(values), parse_float=lambda x: float(f"{float(x):.7g}")),
    }


def test_every_preset_has_golden_values() -> None:
    assert sorted(GOLDEN) == preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_what_it_was(name: str) -> None:
    found, known = measured(name), GOLDEN[name]
    assert found["id"] == known["id"]
    # Logits are of the order of 0.2: another CPU's products round in the sixth digit, another model in the first.
    torch.testing.assert_close(torch.tensor(found["logits"]), torch.tensor(known["logits"]), rtol=1e-3, atol=1e-4)
    assert found["loss"] == pytest.approx(known["loss"], rel=1e-5)
    assert found["gradient_norm"] == pytest.approx(known["gradient_norm"], rel=1e-3)


if __name__ == "__main__":
    new = {name: GOLDEN.get(name) or measured(name) for name in preset_names()}
    FILE.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in new.items()) + "\n}\n")
    sys.stdout.write(f"{FILE}: {len(new)} presets, {len(new) - len(GOLDEN)} of them new\n")
