"""A family of models: Llama under another name."""

from harmony_core.interop.hf.families import register
from harmony_core.interop.hf.families.llama import Llama


@register
class ToyLlama(Llama):
    """`LlamaForCausalLM` whose configuration says another type."""

    model_type = "toy_llama"
