"""Greedy responses, and the log-probabilities of a given response."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unwrite.models.batches import accepted, left_padded

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


@torch.inference_mode()
def generate_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    batches: Sequence[Sequence[int]],
    max_tokens: int,
    advance: Callable[[int], object],
) -> list[list[int]]:
    """The greedy response to each prompt: at most `max_tokens` ids, without the end token that closed it.

    Sampling settings, penalties and suppressed tokens of the model's generation config are left out: greedy is greedy.
    """
    from transformers import GenerationConfig

    ends = end_tokens(model)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
        use_cache=True,
    )
    responses: list[list[int]] = [[] for _ in prompts]
    with _generation_config(model, config):
        for rows in batches:
            inputs = left_padded([prompts[row] for row in rows], model.device)
            generate: Callable[..., Tensor] = model.generate  # type: ignore[assignment]  # typed for its many outputs
            ids = generate(**accepted(model, inputs), generation_config=config)
            for row, response in zip(rows, ids[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                responses[row] = _up_to_end(response, ends)
            advance(len(rows))
    return responses


@torch.inference_mode()
def greedy_logits(model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int) -> Tensor:
    """Logits [n, tokens, V] that predict the first `tokens` tokens of each greedy response to one batch of prompts.

    The first come from the prompt, the others from what is cached of it. No token ends a response.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=tokens,
        pad_token_id=0,
        use_cache=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    with _generation_config(model, config):
        inputs = accepted(model, left_padded(prompts, model.device))
        generate: Callable[..., Any] = model.generate  # type: ignore[assignment]  # typed for its many outputs
        return torch.stack(generate(**inputs, generation_config=config).logits, dim=1)


@contextmanager
def _generation_config(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    # `generate` fills what the config it is given leaves open from the model's own: penalties, suppressed tokens.
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Ids that end a response: the generation config's, else the config's, else those of its text part."""
    for config in (model.generation_config, model.config, model.config.get_text_config()):
        ids = getattr(config, "eos_token_id", None)
        if ids is not None:
            return list(ids) if isinstance(ids, (list, tuple)) else [ids]
    return []


def _up_to_end(response: list[int], ends: Sequence[int]) -> list[int]:
    stops = [place for place, token in enumerate(response) if token in ends]
    return response[: stops[0]] if stops else response


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
