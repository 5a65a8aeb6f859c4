"""Parameter, cache and state counts against published figures, or counted by hand from the papers."""

from __future__ import annotations

import pytest

from harmony_core.architecture import GQA, MLA, MLP, SWA, Architecture, HyenaLI, HyenaMR, HyenaSE, Mamba, Mamba2, MoE
from harmony_core.architecture.presets import load_preset

# name: (all, active, active without the input embedding's look-up)
PARAMS = {
    "llama-3.2-1b": (1_235_814_400, 1_235_814_400, 1_235_814_400),
    "mixtral-8x7b": (46_702_792_704, 12_879_925_248, 12_879_925_248 - 32_000 * 4096),
    "deepseek-v2-lite": (15_706_484_224, 2_661_150_208, 2_451_435_008),
    "jamba-v0.1": (51_570_323_328, 12_110_311_296, 12_110_311_296 - 65_536 * 4096),
    "samba-1.3b": (1_330_207_488, 1_330_207_488, 1_330_207_488),
    "mamba-2-1.3b": (1_343_757_312, 1_343_757_312, 1_343_757_312),
    "qwen3-next-80b-a3b": (79_674_391_296, 3_874_929_408, 3_874_929_408 - 151_936 * 2048),
    "kimi-linear-48b-a3b": (49_122_675_072, 3_484_453_248, 3_484_453_248 - 163_840 * 2304),
    "lfm2-700m": (742_489_344,) * 3,
    # 9 and 10 blocks of attention, 18 and 19 feed-forwards of Llama 3.2 1B, norms and embedding.
    "composer-stacked-1b": (9 * 10_485_760 + 18 * 50_331_648 + (28 + 128_256) * 2048,) * 3,
    "composer-stretched-1b": (10 * 10_485_760 + 19 * 50_331_648 + (30 + 128_256) * 2048,) * 3,
    "composer-stacked-nano": (2 * 49_152 + 4 * 215_040 + (7 + 257) * 128,) * 3,
    "composer-stretched-nano": (5 * 27_648 + 11 * 74_880 + (17 + 257) * 96,) * 3,
    "nemotron-3-nano-30b-a3b": (31_577_937_344, 3_580_073_408, 3_580_073_408 - 131_072 * 2688),
    "falcon-h1-0.5b": (521_411_104, 521_411_104, 521_411_104 - 32_784 * 1024),
    "gpt-oss-20b": (20_914_757_184, 4187440704, 4187440704 - 201_088 * 2880),
    "olmo-hybrid-7b": (7_430_870_688, 7_430_870_688, 7_430_870_688 - 100_352 * 3840),
    "stripedhyena-2-1b": (1_107_989_760,) * 3,
    "stripedhyena-2-7b": (6_481_059_584,) * 3,
    "stripedhyena-2-40b": (40_331_142_144,) * 3,
}
KV_BYTES = {
    "llama-3.2-1b": 32_768,
    "mixtral-8x7b": 131_072,
    "jamba-v0.1": 16_384,
    "deepseek-v2-lite": 31_104,
    "samba-1.3b": 9 * 2 * 2304 * 2,
    "mamba-2-1.3b": 0,
    "qwen3-next-80b-a3b": 12 * 2 * 2 * 256 * 2,
    "kimi-linear-48b-a3b": 7 * (512 + 64) * 2,
    "lfm2-700m": 6 * 2 * 8 * 64 * 2,
    "composer-stacked-1b": 9 * 2048,
    "composer-stretched-1b": 10 * 2048,
    "nemotron-3-nano-30b-a3b": 6 * 2 * 2 * 128 * 2,
    "gpt-oss-20b": 24 * 2 * 8 * 64 * 2,
    "falcon-h1-0.5b": 36 * 2 * 2 * 64 * 2,
    "olmo-hybrid-7b": 8 * 2 * 3840 * 2,
    "stripedhyena-2-7b": 5 * 2 * 4096 * 2,
}
STATE_ELEMENTS = {
    "mamba-2-1.3b": 25_165_824 + 835_584,
    "jamba-v0.1": 4_587_520,
    "samba-1.3b": 9 * 4608 * (16 + 4),
    "llama-3.2-1b": 0,
    "qwen3-next-80b-a3b": 36 * (32 * 128 * 128 + 4 * (2 * 16 + 32) * 128),
    "kimi-linear-48b-a3b": 20 * (32 * 128 * 128 + 4 * 3 * 32 * 128),
    "lfm2-700m": 10 * 1536 * 3,
    "nemotron-3-nano-30b-a3b": 23 * (4096 * 128 + (4096 + 2 * 8 * 128) * 4),
    "falcon-h1-0.5b": 36 * (1536 * 128 + (1536 + 2 * 128) * 4),
    "olmo-hybrid-7b": 24 * (30 * 96 * 192 + 4 * 30 * (2 * 96 + 192)),
    "stripedhyena-2-7b": 27 * 3 * 4096 * 3 + 9 * 4096 * (7 + 128 + 16),
}


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_of_known_models(name):
    architecture = load_preset(name)
    found = (
        architecture.num_params(),
        architecture.num_active_params(),
        architecture.num_active_non_embedding_params(),
    )
    assert found == PARAMS[name]


@pytest.mark.parametrize("name", KV_BYTES)
def test_cache_of_known_models(name):
    assert load_preset(name).kv_bytes_per_token() == KV_BYTES[name]
    assert load_preset(name).kv_bytes_per_token(bytes_per_element=4) == 2 * KV_BYTES[name]


@pytest.mark.parametrize("name", STATE_ELEMENTS)
def test_state_of_known_models(name):
    assert load_preset(name).state_elements() == STATE_ELEMENTS[name]
    assert load_preset(name).state_bytes() == 2 * STATE_ELEMENTS[name]


def test_mistral_with_its_window():
    layer = (SWA(num_heads=32, head_dim=128, num_kv_heads=8, window=4096), MLP(d_ff=14336))
    mistral = Architecture(d_model=4096, vocab_size=32000, tie_embeddings=False, blocks=layer * 32)
    assert mistral.num_params() == 7_241_732_096
    assert mistral.kv_bytes_per_token() == 131_072
    assert mistral.kv_cache_bytes(1000) == 1000 * 131_072
    assert mistral.kv_cache_bytes(10_000) == 4096 * 131_072


def test_qwen3_moe_with_qk_norm():
    layer = (
        GQA(num_heads=32, head_dim=128, num_kv_heads=4, qk_norm=True, rope_base=1e6),
        MoE(n_routed=128, top_k=8, d_expert=768),
    )
    qwen = Architecture(d_model=2048, vocab_size=151_936, tie_embeddings=False, blocks=layer * 48)
    assert qwen.num_params() == 30_532_122_624
    assert qwen.num_active_params() == 3_353_032_704
    assert qwen.kv_bytes_per_token() == 98_304


def test_latent_queries_of_deepseek_v2():
    """q: 5120 x 1536 and 1536 x 128 x 192; kv: 5120 x 576 and 512 x 128 x 256; out 16384 x 5120; norms."""
    mla = MLA(
        num_heads=128,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        q_lora_rank=1536,
    )
    by_hand = 7_864_320 + 37_748_736 + 2_949_120 + 16_777_216 + 83_886_080 + 1536 + 512
    assert mla.num_params(5120) == by_hand


def test_embedding_counts_say_what_is_in_them():
    blocks = (MLP(d_ff=8),)
    tied = Architecture(d_model=4, vocab_size=10, blocks=blocks)
    untied = Architecture(d_model=4, vocab_size=10, tie_embeddings=False, blocks=blocks)
    body = 3 * 4 * 8 + 2 * 4
    assert (tied.num_params(), untied.num_params()) == (body + 40, body + 80)
    assert tied.num_active_non_embedding_params() == untied.num_active_non_embedding_params() == body + 40
    assert tied.num_non_embedding_params() == untied.num_non_embedding_params() == body + 40


def test_flops_of_one_layer_by_hand():
    """Width 8, 2 heads of 4 (1 KV head), context 5: q 64, k and v 32 each, out 64; scores 8 wide."""
    layer = (GQA(num_heads=2, head_dim=4, num_kv_heads=1), MLP(d_ff=16, activation="gelu"))
    architecture = Architecture(d_model=8, vocab_size=10, blocks=layer)
    matrices = 2 * (64 + 32 + 32 + 64) + 2 * (2 * 8 * 16) + 2 * 80
    assert architecture.flops_per_token(5, "decode") == matrices + 4 * 8 * 5
    assert architecture.flops_per_token(5, "prefill") == matrices + 4 * 8 * 3
    assert architecture.flops_per_token(5, "train") == 3 * (matrices + 4 * 8 * 3)


def test_latent_attention_by_hand():
    """Width 8: q 8 x 10, down 8 x 6, up 4 x 16, out 10 x 8; then scores and sums over what is seen by each head."""
    mla = MLA(num_heads=2, kv_lora_rank=4, qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=5)
    matrices = 2 * (80 + 48 + 64 + 80)
    # Of 5 tokens each sees 3 on average: keys of 5 and values of 5. Decoding attends to latents of 4 and a key of 2.
    assert mla.flops_per_token(8, 5, "prefill") == matrices + 2 * 2 * (5 + 5) * 3
    assert mla.flops_per_token(8, 5, "decode") == matrices + 2 * 2 * ((4 + 2) + 4) * 5
    assert mla.flops_per_token(8, 5, "train") == 3 * mla.flops_per_token(8, 5, "prefill")


def test_state_spaces_by_hand():
    """Width 8, inner 16, state 3. Mamba-2: in 8 x (16 + 28 + 4), out 16 x 8, 28 channels of 4 taps."""
    mamba2 = Mamba2(d_state=3, head_dim=4, n_groups=2, chunk_size=8)
    matrices = 2 * (8 * 48 + 128) + 2 * 28 * 4
    # A token enters 16 x 3 states and leaves them, and meets a chunk: 2 groups of 3 for the scores, 16 for the sums.
    assert mamba2.flops_per_token(8, 64, "prefill") == matrices + 4 * 48 + 2 * 8 * (6 + 16)
    assert mamba2.flops_per_token(8, 5, "prefill") == matrices + 4 * 48 + 2 * 5 * (6 + 16)
    assert mamba2.flops_per_token(8, 64, "decode") == matrices + 6 * 48
    # Mamba-1: in 8 x 32, x 16 x (1 + 6), dt 1 x 16, out 16 x 8; a recurrence, whatever the mode.
    mamba = Mamba(d_state=3)
    for mode in ("prefill", "decode"):
        assert mamba.flops_per_token(8, 64, mode) == 2 * (256 + 112 + 16 + 128) + 2 * 16 * 4 + 7 * 48


def test_hyena_operators_by_hand():
    """Width 8: in 3 x 64, out 64 and its bias of 8, 24 channels of 3 short taps; then each one's filter."""
    shared_params, shared_flops = 4 * 64 + 8 + 24 * 3, 2 * 4 * 64 + 2 * 24 * 3
    se, mr = HyenaSE(num_groups=4), HyenaMR(num_groups=2, filter_length=16)
    li = HyenaLI(state_size=5, chunk_size=4)
    assert se.num_params(8) == shared_params + 4 * 7
    assert mr.num_params(8) == shared_params + 2 * 16 + 8
    assert li.num_params(8) == shared_params + 8 * (5 + 5 + 1)
    for mode in ("prefill", "decode"):
        assert se.flops_per_token(8, 64, mode) == shared_flops + 2 * 8 * 7
        assert mr.flops_per_token(8, 64, mode) == shared_flops + 2 * 8 * 16
    # A state is decayed and added to, then read; a chunk's tokens meet in a matrix of 4 x 4 a channel.
    assert li.flops_per_token(8, 64, "decode") == shared_flops + 4 * 8 * 5
    assert li.flops_per_token(8, 64, "prefill") == shared_flops + 4 * 8 * 5 + 2 * 8 * 4
    assert li.flops_per_token(8, 64, "train") == 3 * li.flops_per_token(8, 64, "prefill")
    assert [block.state_elements(8) for block in (se, mr, li)] == [24 * 3 + 8 * 7, 24 * 3 + 8 * 16, 24 * 3 + 8 * 5]


def test_window_saves_flops_and_cache_only_beyond_itself():
    swa = SWA(num_heads=2, head_dim=4, num_kv_heads=2, window=4)
    full = GQA(num_heads=2, head_dim=4, num_kv_heads=2)
    assert swa.flops_per_token(8, 4, "prefill") == full.flops_per_token(8, 4, "prefill")
    # Tokens 1 to 6 see 1, 2, 3, 4, 4, 4 tokens.
    extra = full.flops_per_token(8, 6, "prefill") - swa.flops_per_token(8, 6, "prefill")
    assert extra == pytest.approx(4 * 8 * (21 - 18) / 6)
    assert full.flops_per_token(8, 6, "decode") - swa.flops_per_token(8, 6, "decode") == 4 * 8 * 2
