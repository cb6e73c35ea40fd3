"""Greedy responses, and the logits that predict a given response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unwrite.models.batches import Budget, accepted, left_padded, run_batches
from unwrite.models.nonfinite import non_finite_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Decided = Callable[[int, list[int]], bool]
BeforePass = Callable[[Sequence[int]], object]

# What a model's output, and its forward's argument, may call what it keeps of the tokens before.
_CACHES = ("past_key_values", "cache_params", "state")
_CACHE_MODULE = "transformers.cache_utils"
_CUT_AT = 0.9  # a batch is cut when less than this share of it still runs: cutting copies what is cached


def do_nothing(_: object) -> None:
    """What is called where nothing is to be done."""


@torch.inference_mode()
def generate_decided(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    batches: Sequence[Sequence[int]],
    max_tokens: int,
    decided: Decided,
    *,
    before_pass: BeforePass = do_nothing,
    advance: Callable[[int], object] = do_nothing,
    budget: Budget | None = None,
) -> list[list[int]]:
    """The greedy response to each prompt, up to where it is decided, it ends, or it has `max_tokens` tokens.

    Nothing but the logits chooses: sampling settings, penalties and suppressed tokens of the model's generation config
    are left out.

    Args:
        model: A language model; its cache is used where it keeps one.
        prompts: Token ids.
        batches: Row numbers of the prompts that share forward passes.
        max_tokens: The most that a response gets.
        decided: Called with a row's number and its response so far, after each token: True ends that response. Must
            depend on nothing else, since a batch for which memory ran out begins anew in halves.
        before_pass: Called before every forward pass with the numbers of the rows in it, in order.
        advance: Called with the number of prompts done after each batch.
        budget: Tokens a forward pass may hold, responses included.

    Returns:
        Token ids, without the end token that closed a response; none for a prompt that is in no batch.

    Raises:
        UnwriteError: A logit is NaN or infinite (names the layer); or a single prompt doesn't fit into memory.
    """
    ends = frozenset(end_tokens(model))
    responses: dict[int, list[int]] = {}

    def respond(numbers: Sequence[int]) -> None:
        rows = list(numbers)
        responses.update((row, []) for row in rows)
        batch = _Batch(model, [prompts[row] for row in rows])
        going = list(range(len(rows)))  # places in the batch whose response goes on
        while going:
            before_pass(rows)
            largest, best = batch.logits().max(-1)
            finite, tokens = largest.isfinite().tolist(), best.tolist()
            for place in going:
                if not finite[place]:
                    before_pass([rows[place]])
                    raise non_finite_error(model, [*prompts[rows[place]], *responses[rows[place]]], rows[place])
            going = [place for place in going if goes_on(rows[place], tokens[place])]
            batch.append(best)
            if 0 < len(going) < _CUT_AT * len(rows) and batch.cut(going):
                rows = [rows[place] for place in going]
                going = list(range(len(rows)))
        advance(len(numbers))

    def goes_on(row: int, token: int) -> bool:
        if token in ends:
            return False
        responses[row].append(token)
        return not decided(row, responses[row]) and len(responses[row]) < max_tokens

    run_batches(respond, batches, [len(prompt) + max_tokens for prompt in prompts], budget or Budget())
    return [responses.get(row, []) for row in range(len(prompts))]


def generate_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    batches: Sequence[Sequence[int]],
    max_tokens: int,
    advance: Callable[[int], object],
    *,
    budget: Budget | None = None,
) -> list[list[int]]:
    """The whole greedy response to each prompt: as `generate_decided`, with nothing to decide."""
    return generate_decided(
        model, prompts, batches, max_tokens, lambda _row, _response: False, advance=advance, budget=budget
    )


@torch.inference_mode()
def greedy_logits(model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int) -> Tensor:
    """Logits [n, tokens, V] that predict the first `tokens` tokens of each greedy response to one batch of prompts.

    The first come from the prompt, the others from what is cached of it. No token ends a response.
    """
    batch = _Batch(model, prompts)
    found = []
    for _ in range(tokens):
        found.append(batch.logits())
        batch.append(found[-1].argmax(-1))
    return torch.stack(found, dim=1)


class _Batch:
    """Sequences of one length, padded at the left, that grow by a token a forward pass."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        self.model = model
        self.inputs = left_padded(prompts, model.device)
        self.cached: dict[str, Any] = {}
        self.first = True

    def logits(self) -> Tensor:
        """What predicts the next token of each sequence, [batch, V]."""
        # The model knows what of this it takes when it has a cache. Without one, the whole sequence is run again.
        prepare: Callable[..., dict[str, Any]] = self.model.prepare_inputs_for_generation  # type: ignore[assignment]
        inputs = prepare(
            **self.inputs,
            **self.cached,
            next_sequence_length=1 if self.cached else None,
            is_first_iteration=self.first,
            use_cache=True,
            logits_to_keep=1,
        )
        self.first = False
        output = self.model(**accepted(self.model, inputs))
        self.cached = {name: output[name] for name in _CACHES if output.get(name) is not None}
        logits: Tensor = output.logits[:, -1]
        return logits

    def append(self, tokens: Tensor) -> None:
        """Puts one token [batch] after each sequence."""
        ids, mask, positions = self.inputs["input_ids"], self.inputs["attention_mask"], self.inputs["position_ids"]
        self.inputs = {
            "input_ids": torch.cat([ids, tokens.to(ids.device)[:, None]], dim=1),
            "attention_mask": torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1),
            "position_ids": torch.cat([positions, positions[:, -1:] + 1], dim=1),
        }

    def cut(self, places: Sequence[int]) -> bool:
        """Leaves these sequences and no others; False, and nothing is changed, where what is cached can't be cut."""
        if not all(map(_can_be_cut, self.cached.values())):
            return False
        chosen = torch.tensor(places, dtype=torch.long, device=self.model.device)
        for cache in self.cached.values():
            cache.reorder_cache(chosen)
        self.inputs = {name: tensor[chosen] for name, tensor in self.inputs.items()}
        return True


def _can_be_cut(cache: Any) -> bool:
    # What transformers reorders for beams it can reorder into fewer. Caches and layers that a model brings along may
    # hold more than they reorder.
    from transformers import DynamicCache

    return type(cache) is DynamicCache and all(type(layer).__module__ == _CACHE_MODULE for layer in cache.layers)


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Ids that end a response: the generation config's, else the config's, else those of its text part."""
    for config in (model.generation_config, model.config, model.config.get_text_config()):
        ids = getattr(config, "eos_token_id", None)
        if ids is not None:
            return list(ids) if isinstance(ids, (list, tuple)) else [ids]
    return []


@torch.inference_mode()
def response_logits(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    count: int,
) -> tuple[Tensor, Tensor]:
    """Logits that predict the first `count` tokens of each given response, teacher-forced, for one batch of prompts.

    Only those positions go through the output head, where the model can be told so.

    Returns:
        logits [batch, m, V] in float32, and mask [batch, m] of the positions that predict a response token or its end.
        m is `count`, or less where no response is that long. Position 0, which predicts the first token, always counts.
    """
    continuations = [list(response[: count - 1]) for response in responses]
    longest = max(map(len, continuations))
    # Padding on the right of the response keeps "the last `longest` + 1 positions" the same for every row; nothing
    # attends to what comes after it, so the padding changes no logit that is read.
    inputs = left_padded(
        [[*prompt, *cont, *[0] * (longest - len(cont))] for prompt, cont in zip(prompts, continuations, strict=True)],
        model.device,
    )
    output = model(**accepted(model, {**inputs, "use_cache": False, "logits_to_keep": longest + 1}))
    logits = output.logits[:, -(longest + 1) :]  # all of them, from a model that can't be told which
    mask = torch.zeros(len(prompts), longest + 1, dtype=torch.bool, device=model.device)
    for row, continuation in enumerate(continuations):
        mask[row, : len(continuation) + 1] = True
    return logits.float(), mask
