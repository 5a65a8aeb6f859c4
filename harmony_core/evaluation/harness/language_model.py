"""A trained model as lm-evaluation-harness asks one: likelihoods of texts, and what it writes until a stop.

B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harmony_core.data import Tokenizer
from harmony_core.models import HybridLM
from harmony_core.models.generate import sample

# What is asked at once: logits of padded tokens, 256 MiB of them in fp32.
_BATCH_LOGITS = 1 << 26


class TrainedLM(TemplateLM):  # type: ignore[misc, unused-ignore]
    """A model with its tokenizer; a text begins a document, as those of training did.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: what its tokens are.
        max_length: tokens that it is given at most; the beginning of a longer text is cut off.
        seed: of draws, where a task asks for a temperature.

    Attributes:
        num_shortened: requests whose beginning was cut off.
    """

    def __init__(self, model: HybridLM, tokenizer: Tokenizer, max_length: int, seed: int) -> None:
        super().__init__()
        self._model = model
        self._tokens = tokenizer
        self._max_length = max_length
        self._device = next(model.parameters()).device
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self.num_shortened = 0

    @property
    def eot_token_id(self) -> int:
        """The separator, which stands before each document."""
        return self._tokens.separator

    @property
    def max_length(self) -> int:
        """Tokens that it is given at most."""
        return self._max_length

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The tokens of a text, with the separator before a text that begins a document.

        Args:
            string: the text.
            add_special_tokens: False for a text that goes on.
            **kwargs: what the harness asks of other models; nothing here.
        """
        tokens: list[int] = self._tokens.encode(string.encode()).tolist()
        return tokens if add_special_tokens is False else [self.eot_token_id, *tokens]

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Of each continuation: its log-likelihood after its context, and whether greedy decoding would write it."""
        # The last token of a text is predicted and not read.
        most = self._max_length + 1
        texts = [self._shortened([*context, *continuation], most) for _, context, continuation in requests]
        answers: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        for indices in _batches([len(text) for text in texts], _BATCH_LOGITS // self._tokens.vocab_size):
            longest = max(len(texts[index]) for index in indices) - 1
            # Causal models do not see what is to the right.
            inputs_BT = torch.full((len(indices), longest), self.eot_token_id, device=self._device)
            for row, index in enumerate(indices):
                text = torch.tensor(texts[index][:-1], device=self._device)
                inputs_BT[row, : len(text)] = text
            logits_BTV = self._model(inputs_BT)
            for row, index in enumerate(indices):
                continuation = requests[index][2][-(len(texts[index]) - 1) :]
                end = len(texts[index]) - 1
                logits_TV = logits_BTV[row, end - len(continuation) : end].double()
                wanted_T = torch.tensor(continuation, device=self._device)
                told_T = logits_TV.log_softmax(-1).gather(1, wanted_T[:, None])
                answers[index] = (float(told_T.sum()), bool((logits_TV.argmax(-1) == wanted_T).all()))
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, long ones in windows of which each predicts what the one before did not.

        Args:
            requests: whose first argument is a text.
            disable_tqdm: not asked; nothing is drawn.
        """
        windows = [list(self._windows(request.args[0])) for request in requests]
        flat = [(None, *window) for window in itertools.chain.from_iterable(windows)]
        told = iter(self._loglikelihood_tokens(flat))
        return [sum(next(told)[0] for _ in of_one) for of_one in windows]

    @torch.inference_mode()
    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What is written after each context, up to the first of its stops.

        Args:
            requests: whose arguments are a context and what the task says of generation.
            disable_tqdm: not asked; nothing is drawn.
        """
        return [self._written(*request.args) for request in requests]

    def _written(self, context: str, options: dict[str, Any]) -> str:
        stops = [options["until"]] if isinstance(options.get("until"), str) else list(options.get("until") or [])
        most = int(options.get("max_gen_toks", 256))
        # A task that asks for no draws says do_sample: false, whatever its temperature is.
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample", True) else 0.0
        prompt = self._shortened(self.tok_encode(context), max(1, self._max_length - most))
        state = self._model.init_state(1, len(prompt) + most)
        logits_BV = self._model.prefill(torch.tensor([prompt], device=self._device), state)
        written: list[int] = []
        text = ""
        while len(written) < most:
            token_B = sample(
                logits_BV, temperature, options.get("top_k"), options.get("top_p"), generator=self._generator
            )
            if int(token_B) == self.eot_token_id:
                break
            written.append(int(token_B))
            text = self._tokens.decode(written).decode(errors="replace")
            if ends := [text.find(stop) for stop in stops if stop and stop in text]:
                return text[: min(ends)]
            if len(written) < most:
                logits_BV = self._model.step(token_B, state)
        return text

    def _windows(self, text: str) -> Iterator[tuple[list[int], list[int]]]:
        tokens = self.tok_encode(text, add_special_tokens=False)
        for window in get_rolling_token_windows(tokens, self.eot_token_id, self._max_length, 1):
            yield make_disjoint_window(window)

    def _shortened(self, tokens: list[int], most: int) -> list[int]:
        """The end of a text that is too long, counted."""
        if len(tokens) <= most:
            return tokens
        self.num_shortened += 1
        return tokens[-most:]


def _batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Indices of texts in batches of about equal lengths, the longest first, that are no larger when padded."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
