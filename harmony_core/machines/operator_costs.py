"""What the operators of a block cost where each runs by itself, one after the other: PyTorch in eager mode on a CPU.

There a block is not one kernel that computes while it streams: products, passes over the scores, element-wise passes
and calls follow each other, and their times add up. A cost of each, in seconds a unit of work, is the mean over what a
training or a forward pass does for that unit, of caches and the operators' own overhead included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from harmony_core.base import Frozen


class OperatorCosts(Frozen):
    """Seconds for each unit of work of one forward pass; in training, of that pass and all that follows from it.

    Args:
        mode: a training step, or a forward pass without gradient.
        precision: of the products.
        source: `measured: ...`, how well the costs explain what they were fitted to included.
        product: a FLOP of a product with weights, of attention with long blocks of queries too.
        exponential: an element that passes through an exponential: gates, SiLU, GELU.
        kernel: an operation started, with its share of the interpreter and of autograd.
        attention_product: a FLOP of attention's batched products, which oneDNN does not compute in fp32.
        attention_score: a score, of its mask, softmax and their gradients.
        attention_element: an activation element that an attention block reads or writes.
        scan_product: a FLOP of the Mamba-2 scan's chunks.
        scan_decay: an element of the matrices of decays between a chunk's tokens.
        scan_element: an activation element that a state space block reads or writes.
        convolution_product: a FLOP of a Hyena convolution with a weight for each lag.
        modal_product: a FLOP of a Hyena convolution with a sum of exponentials.
        convolution_element: an activation element that a Hyena block reads or writes.
        feed_forward_element: an activation element that a feed-forward or a mixture of experts reads or writes.
        expert: a routed expert that has tokens, however many.
        logit: an element of the logits, of softmax and loss.
        parameter: a parameter, of clipping and AdamW.
        step: a training step or a forward pass, whatever the model.
    """

    mode: Literal["train", "prefill"]
    precision: Literal["fp32", "bf16"]
    source: str = Field(min_length=1)
    product: float = Field(ge=0)
    exponential: float = Field(ge=0)
    kernel: float = Field(ge=0)
    attention_product: float = Field(ge=0)
    attention_score: float = Field(ge=0)
    attention_element: float = Field(ge=0)
    scan_product: float = Field(ge=0)
    scan_decay: float = Field(ge=0)
    scan_element: float = Field(ge=0)
    convolution_product: float = Field(ge=0)
    modal_product: float = Field(ge=0)
    convolution_element: float = Field(ge=0)
    feed_forward_element: float = Field(ge=0)
    expert: float = Field(ge=0)
    logit: float = Field(ge=0)
    parameter: float = Field(ge=0)
    step: float = Field(ge=0)

    def seconds(self, work: Mapping[str, float]) -> float:
        """Of so many units of each kind of work."""
        return sum(self.split(work).values())

    def split(self, work: Mapping[str, float]) -> dict[str, float]:
        """The seconds of each kind of work."""
        return {unit: getattr(self, unit) * amount for unit, amount in work.items()}


UNITS = tuple(name for name in OperatorCosts.model_fields if name not in ("mode", "precision", "source"))
