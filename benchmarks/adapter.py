"""Try an edit the plain way: as a PEFT LoRA of rank 3, from the randomized SVD of the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from unwrite.terms import NormPreservation

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

RANK = 3


def with_adapter(model: PreTrainedModel, modules: Sequence[str], *, random: bool = False) -> PeftModel:
    """Add a LoRA to each named module of a model: one that changes nothing, or a random one."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(modules), init_lora_weights=not random)
    adapted: PeftModel = get_peft_model(model, config)
    adapted.eval()
    return adapted


def set_adapter(adapted: PeftModel, changes: Mapping[str, Tensor]) -> None:
    """Set the LoRA of each module to the nearest one of its rank to the change [d, k]; other modules' LoRAs to zero."""
    layers: Mapping[str, Any] = {
        name.removeprefix("base_model.model."): module
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_B")
    }
    for name, layer in layers.items():
        if name not in changes:
            layer.lora_B["default"].weight.data.zero_()
            continue
        U, S, V = torch.svd_lowrank(changes[name], q=2 * RANK + 4, niter=6)
        root = S[:RANK].sqrt()
        layer.lora_A["default"].weight.data.copy_((V[:, :RANK] * root).T)
        layer.lora_B["default"].weight.data.copy_(U[:, :RANK] * root)


def change_of(W: Tensor, v: Tensor, strength: float, mode: NormPreservation) -> Tensor:
    """Compute what an edit adds to a weight [d, k], in a few lines of float32."""
    W, v = W.float(), v.float()
    axis = 0 if mode == "columns" else 1
    norms = torch.ones_like(W[:, :1]) if mode == "none" else W.norm(dim=axis, keepdim=True)
    edited = W / norms
    edited = edited - strength * torch.outer(v, v @ edited)
    return (normalize(edited, dim=axis) if mode in {"rows", "columns"} else edited) * norms - W
