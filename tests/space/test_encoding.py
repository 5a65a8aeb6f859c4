"""An architecture as a vector: of one length, the same always, and another one for another architecture."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harmony_core.architecture import MHA, MLP, Architecture
from harmony_core.errors import UserError
from harmony_core.space import Encoding, Space, every_architecture, sample

SMALL = {
    "depth": {"min": 1, "max": 2},
    "d_model": [32, 64],
    "blocks": {
        "gqa": {"domains": {"num_heads": [2, 4], "num_kv_heads": [1, 2], "head_dim": [8]}},
        "mamba2": {"domains": {"d_state": [16, 32], "head_dim": [16]}},
        "mlp": {"domains": {"d_ff": [64, 128], "activation": ["gelu", "geglu", "swiglu"]}},
    },
}
CODE = """
import json, sys, numpy as np
from harmony_core.space import Encoding, Space, sample
space = Space.parse(json.loads(sys.argv[1]))
rng = np.random.default_rng(0)
print(*[Encoding(space).vector(sample(space, 257, rng).architecture).tolist() for _ in range(9)])
"""


@pytest.fixture(scope="module")
def small() -> Space:
    return Space.parse(SMALL)


def test_by_hand(small: Space) -> None:
    encoding = Encoding(small)
    blocks = [
        {"kind": "gqa", "num_heads": 4, "num_kv_heads": 2, "head_dim": 8},
        {"kind": "mlp", "d_ff": 128, "activation": "gelu"},
    ]
    architecture = Architecture(d_model=32, vocab_size=256, blocks=blocks)
    found = dict(zip(encoding.names, encoding.vector(architecture).tolist(), strict=True))
    attention, mlp = (block.num_active_params(32) for block in architecture.blocks)
    expected = {
        "depth": 1,
        "d_model": 32,
        "tie_embeddings": 1,
        "log_num_params": np.log1p(architecture.num_params()),
        "log_num_active_params": np.log1p(architecture.num_active_params()),
        "log_num_active_non_embedding_params": np.log1p(architecture.num_active_non_embedding_params()),
        "log_kv_bytes_per_token": np.log1p(2 * 2 * 2 * 8),
        "count.gqa": 1,
        "count.mlp": 1,
        "place.mlp": 1,
        "share.gqa": attention / (attention + mlp),
        "share.mlp": mlp / (attention + mlp),
        "0.gqa": 1,
        "0.gqa.num_heads": 1,
        "0.gqa.num_kv_heads": 1,
        "1.mlp": 1,
        "1.mlp.d_ff": 1,
        "1.mlp.activation": 2 / 3,
    }
    assert {name: value for name, value in found.items() if value} == pytest.approx(expected)
    # Of two places in a layer: no mixer's feature at a channel mixer's, and none of what never differs.
    assert not {"0.mlp", "1.gqa", "0.gqa.head_dim", "4.gqa"} & set(encoding.names)
    assert {"2.gqa", "3.mlp.d_ff", "0.mamba2.d_state"} <= set(encoding.names)


def test_equal_vectors_are_equal_ids(small: Space) -> None:
    encoding = Encoding(small)
    vectors = {encoding.vector(one).tobytes(): one.id for one in every_architecture(small, 256)}
    assert len(vectors) == len(set(vectors.values())) == sum(1 for _ in every_architecture(small, 256)) > 1000


def test_another_spelling_of_one_architecture_has_its_vector() -> None:
    space = Space.parse(
        {**SMALL, "blocks": {"mha": {"domains": {"num_heads": [2], "head_dim": [16]}}, **SMALL["blocks"]}}
    )
    gqa = {"kind": "gqa", "num_heads": 2, "num_kv_heads": 2, "head_dim": 16}
    mlp = MLP(d_ff=64)
    first, second = (
        Architecture(d_model=32, vocab_size=256, blocks=(mixer, mlp)) for mixer in (gqa, MHA(num_heads=2, head_dim=16))
    )
    assert first.id == second.id
    assert (Encoding(space).vector(first) == Encoding(space).vector(second)).all()


@pytest.mark.parametrize("name", ["nano", "small"])
def test_a_space_has_one_length_and_its_samples_have_vectors_of_their_own(name: str) -> None:
    space = Space.from_yaml("nano") if name == "nano" else Space.parse({**SMALL, "pattern": "free"})
    encoding = Encoding(space)
    rng = np.random.default_rng(0)
    samples = {one.id: one for one in (sample(space, 257, rng).architecture for _ in range(60))}
    vectors = np.stack([encoding.vector(one) for one in samples.values()])
    assert vectors.shape == (len(samples), len(encoding.names))
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors, axis=0)) == len(samples)


def test_a_vector_is_the_same_in_another_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", CODE, json.dumps(SMALL)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_what_is_not_of_the_space_is_refused(small: Space) -> None:
    wide = Architecture(d_model=32, vocab_size=256, blocks=[MHA(num_heads=2, head_dim=16), MLP(d_ff=999)])
    with pytest.raises(UserError, match=r"architecture: .* mha-mlp: not in the search space \(block 0 is not among"):
        Encoding(small).vector(wide)
