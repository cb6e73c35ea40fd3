"""Which parameters write the residual stream: found by measurement on a miniature, and proven on every layer of it.

The test of saturation: add K·v, with K huge, to what a module puts out. Every path through a norm is bounded, so if the
layer's output moves by m·K·v the module adds straight into the stream with multiplier m. Where such a module is a norm
itself, its input takes the place of the stream and the search goes on there. A parameter of the module writes along one
of its axes exactly when projecting v out of that axis changes what the module puts out along v and in no other way.

Nothing is believed for having been found: in every layer, the stream must be the sum of what the writers put out, and
nothing may be written along v any more once all of them are edited.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.discovery.miniature import VOCABULARY, filled, filled_while_run, miniatures
from unwrite.models.discovery.padding import is_padding_sensitive
from unwrite.models.layers import CalledLayer, CapturedLayers, capture_layers, stream_argument
from unwrite.terms import Component

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_K = 1e10  # so large that no bounded path can be taken for it, and small enough to leave six digits
_TOLERANCE = 1e-5
_COMPLETE = 1e-5
_FEWEST_TOKENS = 16
_EXACT = 1e-9  # relative: what an exact edit may leave of the direction


class FoundNorm(NamedTuple):
    """A norm between writer and stream: its effective scale γ is `offset` + its parameter (ones without one)."""

    module: str
    parameter: str | None
    offset: float


class FoundWriter(NamedTuple):
    """A parameter that writes the stream, by its names in the model.

    `module` puts out what it writes; `axis` is the hidden axis, `num_matrices` how many matrices [d, k] the parameter
    holds (experts); `multiplier` is None where it is learned, or a gate makes it differ from token to token.
    `shared_layers`: other layers that use it.
    """

    module: str
    parameter: str
    axis: int
    num_matrices: int
    bias: str | None
    bias_axis: int
    layer: int
    component: Component
    multiplier: float | None
    norms: tuple[FoundNorm, ...]
    shared_layers: tuple[int, ...] = ()


class Discovery(NamedTuple):
    """Every writer, the largest share of a layer's output that they leave unexplained, and what can't be edited."""

    architecture: str
    layers: int
    hidden_size: int
    vocabulary: int
    writers: list[FoundWriter]
    unexplained: float
    incomplete: list[str]
    padding_sensitive: bool


class _Weight(NamedTuple):
    """A parameter of a module that writes along `axis`, and the bias beside it; names within the layer."""

    parameter: str
    axis: int
    num_matrices: int
    bias: str | None
    bias_axis: int


class _Branch(NamedTuple):
    """What adds into the stream: a module with its weights, or a norm with the branches that add into its input."""

    module: str
    weights: tuple[_Weight, ...] = ()
    norm: FoundNorm | None = None
    inner: tuple[_Branch, ...] = ()


class _Call(NamedTuple):
    """One call of a module, and what it put out as [tokens, d]."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor


class _UnprovableError(Exception):
    """Why a layer can't be edited exactly, and the share of what it writes that is not explained."""

    def __init__(self, reason: str, unexplained: float = 0.0) -> None:
        super().__init__(reason)
        self.unexplained = unexplained


@torch.no_grad()
def find_writers(config: PreTrainedConfig) -> Discovery:
    """Finds the residual writers of a decoder-only model from its config, without its weights.

    What can't be edited exactly is listed in `incomplete`, with the reason. Of such a layer only those modules count as
    writers whose own output is proven to lose the direction. Only what runs on text is seen.

    Raises:
        UnwriteError: It is no decoder-only model that transformers can build, it doesn't run on text alone, or it has
            no decoder stack.
    """
    with float64_throughout():
        model, captured, other, padding_sensitive = _run_miniature(config)
        incomplete = _writes_outside(captured)
        writers: list[FoundWriter] = []
        known: dict[Any, tuple[_Branch, ...]] = {}
        worst = 0.0
        for index, (layer, elsewhere) in enumerate(zip(captured.layers, other.layers, strict=True)):
            kind = _kind(layer.module)
            with filled(layer.module, index):
                branches, unexplained, reasons = _examined(layer, known.get(kind))
                found = list(_found_writers(layer, elsewhere, index, branches, complete=not reasons))
            with filled(layer.module, len(captured.layers) + index):  # a multiplier that is learned is another now
                multipliers = _multipliers(layer, branches)
            known.setdefault(kind, branches)
            incomplete += [f"layer {index}: {reason}" for reason in reasons]
            writers += [
                writer if writer.multiplier == m else writer._replace(multiplier=None)
                for writer, m in zip(found, multipliers, strict=True)
            ]
            worst = max(worst, unexplained)
        writers, shared = _without_aliases(model, writers)
    text = config.get_text_config()
    return Discovery(
        architecture=type(model).__name__,
        layers=len(captured.layers),
        hidden_size=text.hidden_size,
        vocabulary=text.vocab_size,
        writers=writers,
        unexplained=worst,
        incomplete=incomplete + shared,
        padding_sensitive=padding_sensitive,
    )


def _run_miniature(config: PreTrainedConfig) -> tuple[PreTrainedModel, CapturedLayers, CapturedLayers, bool]:
    """The narrowest miniature that runs, its layers as called with some tokens and with others but for the last.

    And whether padding changes what it computes.
    """
    failure: UnwriteError | None = None
    for model in miniatures(config):
        with filled_while_run(model):
            try:
                embeddings: Any = model.get_input_embeddings()
                highest = min(VOCABULARY, len(embeddings.weight))
                if highest < _FEWEST_TOKENS:
                    raise UnwriteError(f"{type(model).__name__} knows {highest} tokens: too few to examine it.")
                tokens, others = torch.randint(1, highest, (2, 2, 7), generator=_generator(1))
                others[:, -1] = tokens[:, -1]
                captured, elsewhere = (capture_layers(model, {"input_ids": ids}) for ids in (tokens, others))
                return model, captured, elsewhere, is_padding_sensitive(model)
            except UnwriteError as error:
                failure = error  # the next one is wider
    assert failure is not None
    raise failure


def _writes_outside(captured: CapturedLayers) -> list[str]:
    """What writes the stream between the layers or after them."""
    between = [
        f"something writes the stream between layers {index} and {index + 1}"
        for index, (output, following) in enumerate(zip(captured.outputs, captured.layers[1:], strict=False))
        if not torch.equal(output, following.stream())
    ]
    return between + [f"{name} runs after the layers and can write the stream" for name in captured.after]


def _kind(layer: nn.Module) -> Any:
    modules = tuple((name, type(module)) for name, module in layer.named_modules())
    return modules, tuple((name, parameter.shape) for name, parameter in layer.named_parameters())


def _examined(layer: CalledLayer, like: tuple[_Branch, ...] | None) -> tuple[tuple[_Branch, ...], float, list[str]]:
    """A layer's branches, the share of its output they leave unexplained, and why some of it can't be edited.

    The branches of a layer of the same kind, if given, are tried first: they only have to be proven.
    """
    calls = _calls(layer)
    if like is not None:
        try:
            return like, _prove(layer, calls, like), []
        except _UnprovableError:
            pass  # not of the same kind after all
    branches, reasons, unexplained = _branches(layer, calls, None)
    if reasons:
        return branches, unexplained, reasons
    try:
        return branches, _prove(layer, calls, branches), []
    except _UnprovableError as reason:
        return (), max(unexplained, reason.unexplained), [str(reason)]


def _branches(
    layer: CalledLayer, calls: Mapping[str, _Call], sink: str | None
) -> tuple[tuple[_Branch, ...], list[str], float]:
    """What adds into `sink`'s input (None: into the stream), why some can't be edited exactly, and what is left.

    What is left is the share of what arrives that nothing found explains.
    """
    v = _direction(layer)
    base, multipliers = _arriving(layer, sink), {}
    streams = _holding_the_stream(layer, calls, v)
    for name in calls:
        # What a norm puts out can't add into its own input; what holds the stream isn't added to it.
        if name != sink and name not in streams:
            with _shifted(layer, name, v):
                m = _along(_arriving(layer, sink) - base, v)
            if m is not None:
                multipliers[name] = m
    hits = {name: m for name, m in multipliers.items() if _has_parameters(layer, name) or _norm(layer, name, calls)}
    names, left = _chosen(layer, sink, base, hits, calls)
    found, reasons = [], []
    if left > _COMPLETE:
        what = ", ".join(f"{name} ({_type(layer, name)})" for name in names) or "any module"
        scaled = [name for name in _scaled(layer, calls, sink, base) if name not in multipliers]
        why = f"; a scale for each component follows {', '.join(scaled)}" if scaled else ""
        reasons.append(f"{left:.1%} of what is written is not explained by {what}{why}")
    for name in names:
        norm = _norm(layer, name, calls)
        try:
            if norm is None:
                found.append(_Branch(name, weights=_weights(layer, name, calls[name], v)))
            else:
                inner, below, _ = _branches(layer, calls, name)
                reasons += below
                found.append(_Branch(name, norm=norm, inner=inner))
        except _UnprovableError as reason:
            reasons.append(str(reason))
    if reasons and sink is None and not bool(_passed_on(layer, None, names, calls).any()):
        reasons[0] += "; the layer's input doesn't pass into its output as it is (a norm after the sum, or a scale)"
    return tuple(found), reasons, left


def _chosen(
    layer: CalledLayer, sink: str | None, base: Tensor, hits: Mapping[str, Tensor], calls: Mapping[str, _Call]
) -> tuple[list[str], float]:
    """The deepest hits (in place of those that don't add up to a container's output, the container), and what is left.

    What is left is the share of what arrives that they and the layer's input don't explain.
    """
    chosen = [name for name in hits if not any(other.startswith(f"{name}.") for other in hits)]
    containers = sorted(set(hits) - set(chosen), key=lambda name: (-name.count("."), name))
    while True:
        left = _left(base - _passed_on(layer, sink, chosen, calls), chosen, hits, calls)
        if left <= _COMPLETE or not containers:
            return chosen, left
        container = containers.pop(0)
        inside = [name for name in chosen if name.startswith(f"{container}.")]
        if _left(hits[container][:, None] * calls[container].output, inside, hits, calls) > _COMPLETE:
            chosen = [name for name in chosen if name not in inside] + [container]


def _left(whole: Tensor, names: Sequence[str], multipliers: Mapping[str, Tensor], calls: Mapping[str, _Call]) -> float:
    """The share of a whole that is not the sum of what the named modules put out times their multipliers."""
    rest = whole
    for name in names:
        rest = rest - multipliers[name][:, None] * calls[name].output
    return float(rest.norm() / whole.norm())


def _weights(layer: CalledLayer, name: str, call: _Call, v: Tensor) -> tuple[_Weight, ...]:
    """The parameters by which a module writes.

    Raises:
        _UnprovableError: Projecting the direction out of them doesn't remove it from what the module puts out.
    """
    module = layer.module.get_submodule(name)
    parameters = dict(module.named_parameters())
    axes = {
        key: axis
        for key, parameter in parameters.items()
        for axis, size in enumerate(parameter.shape)
        if size == len(v) and _responds(module, call, parameter, axis, v)
    }
    # Experts that are modules of their own, and that no token reached, are built like those that one did.
    forms = {(_form(key), parameters[key].shape): axis for key, axis in axes.items()}
    for key, parameter in parameters.items():
        axis = forms.get((_form(key), parameter.shape))
        if key not in axes and axis is not None and _is_idle(module, call, parameter, axis, v):
            axes[key] = axis
    with ExitStack() as edits:
        for key, axis in axes.items():
            edits.enter_context(_projected(parameters[key], axis, v))
        left = float((_output(module, call) @ v).abs().max() / call.output.norm(dim=-1).max())
    num_matrices = {key: _groups(module, call, parameters[key], axis, v) for key, axis in axes.items()}
    matrices, biases = _matrices_and_biases({key: parameters[key] for key in axes}, axes, num_matrices)
    if left <= _EXACT and matrices and biases:
        raise _UnprovableError(
            f"{name} ({type(module).__name__}) adds {', '.join(biases)} besides one bias for each of its weights, "
            "which is all that a recipe holds"
        )
    if left > _EXACT or not matrices:
        by = ", ".join(axes) or "none of its parameters"
        raise _UnprovableError(
            f"{name} ({type(module).__name__}) writes the stream in a way that no edit of its weights can take a "
            f"direction out of exactly (projected: {by}; {left:.1%} is left)"
        )
    return tuple(
        _Weight(
            f"{name}.{key}",
            axes[key],
            num_matrices[key],
            None if bias is None else f"{name}.{bias}",
            0 if bias is None else axes[bias],
        )
        for key, bias in matrices.items()
    )


def _matrices_and_biases(
    parameters: Mapping[str, nn.Parameter], axes: Mapping[str, int], num_matrices: Mapping[str, int]
) -> tuple[dict[str, str | None], list[str]]:
    """Each matrix with the bias beside it, and the biases that are beside none.

    A bias is one vector, or one for each of the matrices of another parameter.
    """

    def is_bias(key: str) -> bool:
        shape = parameters[key].shape
        experts = {num_matrices[other] for other in parameters if other != key and num_matrices[other] > 1}
        return len(shape) == 1 or (len(shape) == 2 and axes[key] == 1 and shape[0] in experts)

    matrices: dict[str, str | None] = {key: None for key in parameters if not is_bias(key)}
    spare = [key for key in parameters if is_bias(key)]
    for same_module in (True, False):
        for bias in list(spare):
            for key, taken in matrices.items():
                if taken is None and (not same_module or _owner(key) == _owner(bias)):
                    matrices[key] = bias
                    spare.remove(bias)
                    break
    return matrices, spare


def _groups(module: nn.Module, call: _Call, parameter: nn.Parameter, axis: int, v: Tensor) -> int:
    """How many matrices a parameter holds.

    The first other axis of three counts experts. In two axes experts can lie one after the other: a token then feels
    some blocks and others not at all. Of all ways to cut, it is the one that tells in the fewest bits what each token
    feels: which blocks, and what of those (an activation may leave some of it out).
    """
    others = [size for place, size in enumerate(parameter.shape) if place != axis]
    if len(others) != 1:
        return others[0] if others else 1
    if axis == 0:
        return 1
    parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            written = _first_tensor(module(*_cloned(call.args), **_cloned(call.kwargs))).reshape(-1, len(v)) @ v
            gradients = (torch.autograd.grad(token, parameter, retain_graph=True)[0] for token in written)
            felt = torch.stack([gradient.abs().amax(axis) > 0 for gradient in gradients])
    finally:
        parameter.requires_grad_(False)

    def bits(num_matrices: int) -> float:
        blocks = felt.reshape(len(felt), num_matrices, -1)
        chosen = blocks.any(-1)
        return _bits(chosen) + _bits(blocks[chosen])

    best = min((num_matrices for num_matrices in range(1, others[0] + 1) if others[0] % num_matrices == 0), key=bits)
    return best if bits(best) < 0.95 * bits(1) else 1  # a little less is chance


def _bits(flags: Tensor) -> float:
    """The length of flags in an ideal code for their frequency (Shannon 1948): n·H(p)."""
    p = flags.double().mean()
    return float(flags.numel() * (torch.special.entr(p) + torch.special.entr(1 - p)) / log(2)) if flags.numel() else 0.0


def _responds(module: nn.Module, call: _Call, parameter: nn.Parameter, axis: int, v: Tensor) -> bool:
    with _projected(parameter, axis, v):
        moved = _output(module, call) - call.output
    size = float(call.output.norm(dim=-1).max())
    along = moved @ v
    off = (moved - along[:, None] * v).norm(dim=-1).max()
    return float(along.abs().max()) > _TOLERANCE * size and float(off) < _EXACT * size


def _is_idle(module: nn.Module, call: _Call, parameter: nn.Parameter, axis: int, v: Tensor) -> bool:
    with _projected(parameter, axis, v):
        return torch.equal(_output(module, call), call.output)


def _prove(layer: CalledLayer, calls: Mapping[str, _Call], branches: Sequence[_Branch]) -> float:
    """The share of what is written that the branches leave unexplained.

    Raises:
        _UnprovableError: It is too much, or once all are edited something is still written along the direction.
    """
    v = _direction(layer)
    unexplained = _unexplained(layer, calls, branches, None, v)
    stream = layer.stream()
    clear = layer.on(stream - (stream @ v)[..., None] * v)
    with ExitStack() as edits:
        for branch in branches:
            _edit(layer, branch, v, edits)
        after = _arriving(clear, None)
    left = float((after @ v).abs().max() / after.norm(dim=-1).max())
    if left > _EXACT:
        raise _UnprovableError(f"{left:.1e} is still written along the direction once every writer is edited")
    return unexplained


def _unexplained(
    layer: CalledLayer, calls: Mapping[str, _Call], branches: Sequence[_Branch], sink: str | None, v: Tensor
) -> float:
    base = _arriving(layer, sink)
    multipliers = {}
    for branch in branches:
        if branch.module not in calls:
            raise _UnprovableError(f"{branch.module} doesn't run once")
        with _shifted(layer, branch.module, v):
            m = _along(_arriving(layer, sink) - base, v)
        if m is None:
            raise _UnprovableError(f"{branch.module} doesn't add to the stream")
        multipliers[branch.module] = m
    rest = base - _passed_on(layer, sink, list(multipliers), calls)
    left = _left(rest, list(multipliers), multipliers, calls)
    if left > _COMPLETE:
        raise _UnprovableError(
            f"{left:.1%} of what is written is not explained by {', '.join(multipliers) or 'any module'}"
        )
    for branch in branches:
        if branch.norm is not None:
            left = max(left, _unexplained(layer, calls, branch.inner, branch.module, v))
    return left


def _edit(layer: CalledLayer, branch: _Branch, v: Tensor, edits: ExitStack) -> None:
    """Edits every weight under a branch with λ = 1, through the norms after it, until `edits` closes."""
    parameter = layer.module.get_parameter
    if branch.norm is not None:
        scale = branch.norm.offset + (0.0 if branch.norm.parameter is None else parameter(branch.norm.parameter))
        for inner in branch.inner:
            _edit(layer, inner, nn.functional.normalize(scale * v, dim=0), edits)
    for weight in branch.weights:
        edits.enter_context(_projected(parameter(weight.parameter), weight.axis, v))
        if weight.bias is not None:
            edits.enter_context(_projected(parameter(weight.bias), weight.bias_axis, v))


def _found_writers(
    layer: CalledLayer, elsewhere: CalledLayer, index: int, branches: Sequence[_Branch], *, complete: bool
) -> Iterator[FoundWriter]:
    calls = _calls(layer)
    # Where something else writes too, it is in one of the parts that the layer is made of.
    parts = [] if complete else [name for name in calls if "." not in name and _has_matrices(layer, name)]
    leaves = list(_leaves(branches, ()))
    multipliers = iter(_multipliers(layer, branches))
    for leaf, norms in leaves:
        others = [other.module for other, _ in leaves if other != leaf]
        others += [part for part in parts if not f"{leaf.module}.".startswith(f"{part}.")]
        component = _component(layer, leaf.module, others, calls, elsewhere)
        for weight in leaf.weights:
            yield FoundWriter(
                module=f"{layer.name}.{leaf.module}",
                parameter=f"{layer.name}.{weight.parameter}",
                axis=weight.axis,
                num_matrices=weight.num_matrices,
                bias=None if weight.bias is None else f"{layer.name}.{weight.bias}",
                bias_axis=weight.bias_axis,
                layer=index,
                component=component,
                multiplier=next(multipliers),
                norms=tuple(
                    FoundNorm(
                        f"{layer.name}.{norm.module}",
                        None if norm.parameter is None else f"{layer.name}.{norm.parameter}",
                        norm.offset,
                    )
                    for norm in norms
                ),
            )


def _multipliers(layer: CalledLayer, branches: Sequence[_Branch]) -> list[float | None]:
    """Of each weight: by what its part of the output reaches the stream; None where tokens differ in that."""
    found: list[float | None] = []
    v, base = _direction(layer), _arriving(layer, None)
    for leaf, norms in _leaves(branches, ()):
        with _shifted(layer, norms[-1].module if norms else leaf.module, v):
            m = _along(_arriving(layer, None) - base, v)
        constant = m is not None and float(m.max() - m.min()) < _TOLERANCE
        found += [round(float(m.mean()), 8) if m is not None and constant else None] * len(leaf.weights)
    return found


def _leaves(
    branches: Sequence[_Branch], norms: tuple[FoundNorm, ...]
) -> Iterator[tuple[_Branch, tuple[FoundNorm, ...]]]:
    """Each branch with weights, and the norms after it in the order in which it passes them."""
    for branch in branches:
        if branch.norm is None:
            yield branch, norms
        else:
            yield from _leaves(branch.inner, (branch.norm, *norms))


def _component(
    layer: CalledLayer, name: str, others: Sequence[str], calls: Mapping[str, _Call], elsewhere: CalledLayer
) -> Component:
    """`attention` if what the module puts out at the last position feels earlier positions directly, else `mlp`.

    `elsewhere` is the layer in a run whose earlier tokens are others. Every other writer is held at what it put out, so
    that the only way from an earlier position is through the writer's own branch.
    """
    stream = elsewhere.stream().clone()
    stream[:, -1] = layer.stream()[:, -1]
    seen: list[Tensor] = []

    def see(_module: nn.Module, _args: Any, output: Any) -> None:
        seen.append(_first_tensor(output).clone())

    with _held(layer, others, calls), layer.module.get_submodule(name).register_forward_hook(see):
        elsewhere.on(stream).run()
    output = calls[name].output.reshape(stream.shape)[:, -1]
    change = (seen[0].reshape(stream.shape)[:, -1] - output).norm() / output.norm()
    return "attention" if change > _TOLERANCE else "mlp"


def _without_aliases(model: nn.Module, writers: Sequence[FoundWriter]) -> tuple[list[FoundWriter], list[str]]:
    """Each parameter once, at the first layer that uses it; those that something else uses too are left out, with why.

    Layers may share a writer as a whole, in one way: its weight, its bias and the norms after it.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)

    def identity(name: str | None) -> int | None:
        return None if name is None else id(model.get_parameter(name))

    by_parameter: dict[int | None, list[FoundWriter]] = {}
    for writer in writers:
        by_parameter.setdefault(identity(writer.parameter), []).append(writer)
    kept, reasons = [], []
    for uses in by_parameter.values():
        first = uses[0]
        alike = {(use.axis, identity(use.bias), tuple(identity(norm.parameter) for norm in use.norms)) for use in uses}
        tensors = [names[id(model.get_parameter(name))] for name in (first.parameter, first.bias) if name is not None]
        strays = [group for group in tensors if len(group) > len(uses)]
        if strays or len(alike) > 1 or len({use.layer for use in uses}) < len(uses):
            which = " and ".join((strays or tensors)[0])
            reasons.append(f"layer {first.layer}: {which} are one parameter: editing one would edit the other")
        else:
            kept.append(first._replace(shared_layers=tuple(use.layer for use in uses[1:])))
    return kept, reasons


def _norm(layer: CalledLayer, name: str, calls: Mapping[str, _Call]) -> FoundNorm | None:
    """The module as a root mean square norm with a scale, y = γ ∘ x / rms(x), or None if it is anything else."""
    module, call = layer.module.get_submodule(name), calls[name]
    if not call.args or not isinstance(call.args[0], Tensor) or call.args[0].shape[-1] != call.output.shape[-1]:
        return None
    # Large, so that what is added to the mean square against division by zero doesn't show.
    x = 1024 * torch.randn(call.args[0].shape, generator=_generator(4), dtype=torch.float64)
    y = _output(module, call._replace(args=(x, *call.args[1:])))
    unit = (x / x.square().mean(-1, keepdim=True).sqrt()).reshape(y.shape)
    scale = (y * unit).sum(0) / unit.square().sum(0)
    if not float((y - scale * unit).abs().max()) < _TOLERANCE * float(scale.abs().max()):
        return None
    candidates: list[tuple[str | None, Tensor]] = [(None, torch.zeros_like(scale))]
    candidates += [(f"{name}.{key}", p.data) for key, p in module.named_parameters() if p.shape == scale.shape]
    for parameter, value in candidates:
        offset = scale - value
        if float(offset.max() - offset.min()) < _TOLERANCE:
            return FoundNorm(name, parameter, round(float(offset.mean()), 6) + 0.0)  # no −0
    return None


def _passed_on(layer: CalledLayer, sink: str | None, names: Sequence[str], calls: Mapping[str, _Call]) -> Tensor:
    """The part of what arrives that is the layer's input itself, s·h_in, [tokens, d].

    Measured with the named modules held at what they put out, so that the input has no other way.

    Raises:
        _UnprovableError: The input reaches a norm on the stream's way.
    """
    v, stream = _direction(layer), layer.stream()
    with _held(layer, names, calls):
        base = _arriving(layer, sink)
        scale = _along(_arriving(layer.on(stream + _K * v), sink) - base, v)
    if scale is None:
        return torch.zeros_like(base)
    if sink is not None:
        raise _UnprovableError(f"{sink} ({_type(layer, sink)}) mixes every direction")
    return scale[:, None] * stream.reshape(base.shape)


@contextmanager
def _held(layer: CalledLayer, names: Sequence[str], calls: Mapping[str, _Call]) -> Iterator[None]:
    """While open, the named modules put out what they did in the recorded calls."""
    with ExitStack() as hooks:
        for name in names:
            recorded = calls[name].output

            def hold(_module: nn.Module, _args: Any, output: Any, recorded: Tensor = recorded) -> Any:
                return _with_first(output, recorded.clone().reshape(_first_tensor(output).shape))

            hooks.enter_context(layer.module.get_submodule(name).register_forward_hook(hold))
        yield


def _holding_the_stream(layer: CalledLayer, calls: Mapping[str, _Call], v: Tensor) -> set[str]:
    """Modules whose output holds the layer's input itself."""
    moved = _calls(layer.on(layer.stream() + _K * v))
    return {
        name
        for name, call in calls.items()
        if name in moved and call.output.shape == moved[name].output.shape
        if _along(moved[name].output - call.output, v) is not None
    }


def _scaled(layer: CalledLayer, calls: Mapping[str, _Call], sink: str | None, base: Tensor) -> list[str]:
    """The deepest modules that write each component of the stream by itself, but no direction as it is."""
    one_hot = torch.zeros_like(_direction(layer))
    one_hot[0] = 1
    names = []
    for name in calls:
        if name != sink and _has_parameters(layer, name):
            with _shifted(layer, name, one_hot):
                if _along(_arriving(layer, sink) - base, one_hot) is not None:
                    names.append(name)
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _along(moved: Tensor, v: Tensor) -> Tensor | None:
    """The multipliers m [tokens], if K·v was added and m·K·v arrived, else None."""
    m = moved @ v / _K
    off = float((moved / _K - m[:, None] * v).norm(dim=-1).max())
    most = float(m.abs().max())
    return m if most > _TOLERANCE and off < _TOLERANCE * max(1.0, most) else None


def _arriving(layer: CalledLayer, sink: str | None) -> Tensor:
    """What leaves the layer, or enters the module `sink` within it: [tokens, d]."""
    if sink is None:
        output = layer.run()
        return output.reshape(-1, output.shape[-1])
    seen: list[Tensor] = []

    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(stream_argument(args, kwargs).clone())

    with layer.module.get_submodule(sink).register_forward_pre_hook(look, with_kwargs=True):
        layer.run()
    return seen[0].reshape(-1, seen[0].shape[-1])


@contextmanager
def _shifted(layer: CalledLayer, name: str, v: Tensor) -> Iterator[None]:
    def shift(_module: nn.Module, _args: Any, output: Any) -> Any:
        return _with_first(output, _first_tensor(output) + _K * v)

    with layer.module.get_submodule(name).register_forward_hook(shift):
        yield


@contextmanager
def _projected(parameter: nn.Parameter, axis: int, v: Tensor) -> Iterator[None]:
    """While open, v is projected out of the parameter along one of its axes."""
    original = parameter.data
    along = torch.tensordot(v, original, dims=([0], [axis]))
    parameter.data = original - (v.reshape(-1, *[1] * along.dim()) * along).movedim(0, axis)
    try:
        yield
    finally:
        parameter.data = original


def _calls(layer: CalledLayer) -> dict[str, _Call]:
    """The call of each submodule that runs once and puts out as many numbers as the stream has, of its width."""
    seen: dict[str, list[_Call]] = {}
    stream = layer.stream()

    def keep(name: str) -> Callable[..., None]:
        def watch(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            if tensor.shape[-1:] == stream.shape[-1:] and tensor.numel() == stream.numel():
                call = _Call(_cloned(args), _cloned(kwargs), tensor.clone().reshape(-1, tensor.shape[-1]))
                seen.setdefault(name, []).append(call)

        return watch

    with ExitStack() as hooks:
        for name, module in layer.module.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(keep(name), with_kwargs=True))
        layer.run()
    return {name: calls[0] for name, calls in seen.items() if len(calls) == 1}


def _output(module: nn.Module, call: _Call) -> Tensor:
    """What the module puts out for the arguments of a call, [tokens, d]."""
    output = _first_tensor(module(*_cloned(call.args), **_cloned(call.kwargs)))
    return output.reshape(call.output.shape).clone()


def _cloned(value: Any) -> Any:
    """Tensors copied, since some modules write into what they are given."""
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (tuple, list):
        return type(value)(map(_cloned, value))
    return {key: _cloned(entry) for key, entry in value.items()} if type(value) is dict else value


def _first_tensor(output: Any) -> Tensor:
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else torch.empty(0)


def _with_first(output: Any, tensor: Tensor) -> Any:
    return tensor if isinstance(output, Tensor) else type(output)([tensor, *output[1:]])


def _direction(layer: CalledLayer) -> Tensor:
    """A random unit vector of the stream's width."""
    width = layer.stream().shape[-1]
    return nn.functional.normalize(torch.randn(width, generator=_generator(2), dtype=torch.float64), dim=0)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _has_parameters(layer: CalledLayer, name: str) -> bool:
    return any(True for _ in layer.module.get_submodule(name).parameters())


def _has_matrices(layer: CalledLayer, name: str) -> bool:
    return any(parameter.dim() > 1 for parameter in layer.module.get_submodule(name).parameters())


def _type(layer: CalledLayer, name: str) -> str:
    return type(layer.module.get_submodule(name)).__name__


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _form(parameter: str) -> str:
    """A parameter's name with the numbers of list items left out."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "N", parameter)
