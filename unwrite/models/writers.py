"""Which parameters write the residual stream: found by measurement on a miniature, and proven complete.

The test of saturation: add K·v, with K huge, to what a module puts out. Every path through a norm is bounded, so if the
layer's output moves by m·K·v the module adds straight into the stream with multiplier m.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.batches import left_padded
from unwrite.models.layers import CalledLayer, capture_layers, run_model
from unwrite.models.miniature import VOCABULARY, build_miniature
from unwrite.models.residuals import recorded_residuals
from unwrite.params import Component

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_K = 1e7  # in float64 this leaves nine digits to judge by
_TOLERANCE = 1e-5
_PADDING = 1e-3  # relative, in float32
_COMPLETE = 1e-5  # K bounds the digits of m: about 1e-7 is left where everything is found


class FoundWriter(NamedTuple):
    """A linear module that writes the stream: its name in the model, layer, component and multiplier m."""

    module: str
    layer: int
    component: Component
    multiplier: float
    has_bias: bool


class Discovery(NamedTuple):
    """Every writer, and the largest share of a layer's output that they leave unexplained."""

    architecture: str
    layers: int
    writers: list[FoundWriter]
    completeness: float


@torch.no_grad()
def find_writers(config: PreTrainedConfig) -> Discovery:
    """Finds the residual writers of a dense decoder-only model whose writers are `nn.Linear`, without its weights.

    Raises:
        UnwriteError: The model has no decoder stack, a writer is not a plain linear module, something between writer
            and stream forbids an exact edit, the writers found don't explain all that is written, or padding changes
            what the model computes. It says what was found and what is missing: a model is never edited in part.
    """
    model = build_miniature(config)
    tokens = torch.randint(VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1))
    writers: list[FoundWriter] = []
    worst = 0.0
    layers = capture_layers(model, {"input_ids": tokens})
    for index, layer in enumerate(layers):
        found, unexplained = _examine_layer(layer, index, type(model).__name__)
        writers += found
        worst = max(worst, unexplained)
    _refuse_shared_parameters(model, writers)
    _refuse_padding_sensitivity(model)
    return Discovery(type(model).__name__, len(layers), writers, worst)


def _refuse_padding_sensitivity(model: nn.Module) -> None:
    """Some recurrent models let left padding into their state; prompts in a batch would then change each other."""
    short, long = [3, 4, 5], [6, 7, 8, 9, 10, 11, 12]
    model.float()  # a fully masked row of attention is NaN where the scores are float64 and the softmax float32
    streams = []
    with recorded_residuals(model, [-1]) as records:
        for prompts in ([short], [short, long]):
            run_model(model, left_padded(prompts, torch.device("cpu")))
            streams.append(torch.stack(records)[:, 0, 0])
    alone, padded = streams
    change = float((padded - alone).norm() / alone.norm())
    if not change < _PADDING:
        raise UnwriteError(
            f"{type(model).__name__}: padding at the left of a prompt changes its residuals (by {change:.1%}). "
            "Such models are not supported yet."
        )


def _examine_layer(layer: CalledLayer, index: int, architecture: str) -> tuple[list[FoundWriter], float]:
    outputs = _submodule_outputs(layer)
    base = layer.run()
    hidden = base.shape[-1]
    v = nn.functional.normalize(torch.randn(hidden, generator=torch.Generator().manual_seed(2)).double(), dim=0)
    multipliers = {name: m for name in outputs if (m := _multiplier(layer, name, base, v)) is not None}
    hits = [name for name in multipliers if not any(other.startswith(f"{name}.") for other in multipliers)]
    modules = dict(layer.module.named_modules())
    where = f"{architecture}, layer {index}"
    found = ", ".join(f"{name} ({type(modules[name]).__name__})" for name in hits) or "no writer"
    for name in hits:
        if not _is_plain_linear(modules[name], hidden):
            raise UnwriteError(
                f"{where}: {name} writes the residual stream but is a {type(modules[name]).__name__}, not a plain "
                f"nn.Linear. Found: {found}. "
                "Such models are not supported yet (README, Limits); nothing is edited in part."
            )
    scale = _identity_scale(layer, base, v)
    written = [multipliers[name] * outputs[name].reshape(base.shape) for name in hits]
    gap = base - scale * layer.stream() - torch.stack(written).sum(0) if written else base
    unexplained = float(gap.norm() / base.norm())
    if unexplained > _COMPLETE:
        raise UnwriteError(
            f"{where}: {unexplained:.1%} of what is written is not explained by {found}. "
            "Something else writes the stream; nothing is edited in part."
        )
    components = _components(layer, hits, outputs)
    writers = [
        FoundWriter(f"{layer.name}.{name}", index, components[name], multipliers[name], modules[name].bias is not None)
        for name in hits
    ]
    return writers, unexplained


def _is_plain_linear(module: nn.Module, hidden: int) -> bool:
    return type(module) is nn.Linear and module.weight.shape[0] == hidden


def _submodule_outputs(layer: CalledLayer) -> dict[str, Tensor]:
    """What each submodule that owns parameters puts out, where that is as wide as the stream and as long."""
    outputs: dict[str, Tensor] = {}
    stream = layer.stream()

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            if tensor is not None and tensor.shape[-1] == stream.shape[-1] and tensor.numel() == stream.numel():
                outputs[name] = tensor.clone()

        return hook

    with ExitStack() as hooks:
        for name, module in layer.module.named_modules():
            if name and any(True for _ in module.parameters()):
                hooks.enter_context(module.register_forward_hook(record(name)))
        layer.run()
    return outputs


def _multiplier(layer: CalledLayer, name: str, base: Tensor, v: Tensor) -> float | None:
    """m, if adding K·v to the module's output moves the layer's output by m·K·v; else None."""

    def shift(_module: nn.Module, _args: Any, output: Any) -> Any:
        tensor = _first_tensor(output)
        assert tensor is not None
        shifted = tensor + _K * v
        return shifted if isinstance(output, Tensor) else type(output)([shifted, *output[1:]])

    with layer.module.get_submodule(name).register_forward_hook(shift):
        return _along(layer.run() - base, v)


def _identity_scale(layer: CalledLayer, base: Tensor, v: Tensor) -> float:
    """s, by which the layer's input passes into its output."""
    moved = layer.on(layer.stream() + _K * v).run() - base
    scale = _along(moved, v)
    return 0.0 if scale is None else scale


def _along(moved: Tensor, v: Tensor) -> float | None:
    m = float((moved @ v).mean()) / _K
    off = float((moved - m * _K * v).norm(dim=-1).max()) / _K
    return m if abs(m) > _TOLERANCE and off < _TOLERANCE * max(1.0, abs(m)) else None


def _components(layer: CalledLayer, hits: Sequence[str], outputs: Mapping[str, Tensor]) -> dict[str, Component]:
    """`attention` for a writer whose output at the last position feels earlier positions directly, `mlp` for others.

    Every other writer is held at its recorded output, so that the only way from an earlier position is through the
    writer's own branch.
    """
    stream = layer.stream()
    disturbed = stream.clone()
    disturbed[:, :-1] += torch.randn(disturbed[:, :-1].shape, generator=torch.Generator().manual_seed(3)).double()
    replay = layer.on(disturbed)
    components: dict[str, Component] = {}
    for name in hits:
        seen: list[Tensor] = []

        def hold(recorded: Tensor) -> Callable[[nn.Module, Any, Any], Tensor]:
            return lambda *_: recorded

        def see(_module: nn.Module, _args: Any, output: Tensor, seen: list[Tensor] = seen) -> None:
            seen.append(output.reshape(stream.shape))

        with ExitStack() as hooks:
            hooks.enter_context(layer.module.get_submodule(name).register_forward_hook(see))
            for other in hits:
                if other != name:
                    hook = hold(outputs[other])
                    hooks.enter_context(layer.module.get_submodule(other).register_forward_hook(hook))
            replay.run()
        change = (seen[0] - outputs[name].reshape(stream.shape))[:, -1].abs().max()
        components[name] = "attention" if change > _TOLERANCE else "mlp"
    return components


def _refuse_shared_parameters(model: nn.Module, writers: Sequence[FoundWriter]) -> None:
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for writer in writers:
        shared = owners[id(model.get_parameter(f"{writer.module}.weight"))]
        if len(shared) > 1:
            raise UnwriteError(f"{' and '.join(shared)} are one parameter: editing one would edit the other. Refused.")


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None
