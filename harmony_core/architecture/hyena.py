"""What the Hyena operators of StripedHyena 2 share (Ku et al. 2025, arXiv:2503.01868, section 2).

Linear D -> 3D, a short depthwise convolution, the split into x2, x1 and v, y = x2 * (h conv (x1 * v)), and Linear
D -> D. The kinds differ in how the filter h is made and how long it is.
"""

from __future__ import annotations

from typing import Any

from harmony_core.architecture.block import Block, Exchange, Mode

# A filter of up to so many taps is cut off at a document's beginning.
RESET_TAPS = 32


class Hyena(Block):
    """A gated causal convolution.

    Args:
        short_filter_length: taps of the depthwise convolution over the 3D projected channels.
    """

    role = "mixer"
    short_filter_length: int = 3

    def model_post_init(self, context: Any, /) -> None:
        if self.short_filter_length < 1:
            raise ValueError(f"short_filter_length is {self.short_filter_length}; use at least 1")

    def filter_params(self, d_model: int) -> int:
        """Trainable elements of the filter h, with the factor of its direct term where there is one."""
        raise TypeError(f"{type(self).__name__} does not say what its filter is made of")

    def filter_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """FLOPs of h conv (x1 * v) a token.

        Args:
            d_model: the model's width, which is the number of channels.
            context: tokens of the sequence.
            mode: `prefill` is the mean over the sequence, `decode` the last token.
        """
        raise TypeError(f"{type(self).__name__} does not say what its convolution costs")

    def filter_state_elements(self, d_model: int) -> int:
        """What decoding keeps of x1 * v."""
        raise TypeError(f"{type(self).__name__} does not say what its convolution remembers")

    def num_params(self, d_model: int) -> int:
        # Only the projection back has a bias.
        projections = 4 * d_model * d_model + d_model
        return projections + 3 * d_model * self.short_filter_length + self.filter_params(d_model)

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        matrices = 2 * 4 * d_model * d_model
        short = 2 * 3 * d_model * self.short_filter_length
        return matrices + short + self.filter_flops_per_token(d_model, context, mode)

    def state_elements(self, d_model: int) -> int:
        return 3 * d_model * self.short_filter_length + self.filter_state_elements(d_model)

    def context_problem(self, d_model: int, ranks: int) -> str | None:
        return f"has {d_model} channels, which {ranks} ranks do not divide" if d_model % ranks else None

    def context_exchanges(self, d_model: int) -> tuple[Exchange, ...]:
        """Three inputs and one output of a rank's own tokens, all channels, for all tokens of some channels.

        Ku et al. 2025, arXiv:2503.01868, section 4.
        """
        return (Exchange("all_to_all", 3 * d_model), Exchange("all_to_all", d_model))

    def check_length(self, sequence_length: int) -> None:
        _check_taps("short_filter_length", self.short_filter_length, sequence_length)


class GroupedFIR(Hyena):
    """A Hyena operator whose filter has a weight for each lag, shared by the channels of a group.

    Args:
        num_groups: filters; each serves d_model / num_groups neighbouring channels.
        filter_length: taps of each filter.
    """

    grows = ("num_groups",)
    num_groups: int
    filter_length: int

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        for name in ("num_groups", "filter_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")

    def check(self, d_model: int) -> None:
        if d_model % self.num_groups:
            raise ValueError(f"num_groups {self.num_groups} does not divide d_model {d_model}; use a divisor")

    def check_length(self, sequence_length: int) -> None:
        super().check_length(sequence_length)
        _check_taps("filter_length", self.filter_length, sequence_length)

    def documents_problem(self) -> str | None:
        """A pass over all tokens a tap is cheap for few of them; a long filter's products know no boundary."""
        longest = max(self.filter_length, self.short_filter_length)
        if longest > RESET_TAPS:
            return f"has a filter of {longest} taps, which reaches over documents; use at most {RESET_TAPS}"
        return None

    def filter_params(self, d_model: int) -> int:
        return self.num_groups * self.filter_length

    def filter_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * d_model * self.filter_length

    def filter_state_elements(self, d_model: int) -> int:
        return d_model * self.filter_length


def _check_taps(name: str, taps: int, sequence_length: int) -> None:
    if taps > sequence_length:
        raise ValueError(f"{name} {taps} is longer than the sequence; use at most {sequence_length}")
