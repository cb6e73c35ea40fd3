"""Small records of every kind that stages hand each other, to be changed by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.pipeline.environment import Environment
from unwrite.pipeline.runs import StageRun, run_file
from unwrite.schema.artifacts import (
    Base,
    BaseCard,
    DirectionRef,
    Edit,
    EditSettings,
    FileDigest,
    Front,
    Kernel,
    ParameterLayout,
    PromptOrigin,
    Recipe,
    SelectedTrial,
    StoredLayout,
    Trial,
    TrialParameters,
    Writer,
    as_json,
)
from unwrite.schema.evaluation import Calibration, ClassifierUsed, Evaluation, ModelScores, SetScores, Share, Verdict
from unwrite.schema.paths import BASE, DIRECTIONS, RECIPE
from unwrite.search.trials import Measured, TrialOutcome
from unwrite.stages.merge_model import BEFORE
from unwrite.terms import COMPONENTS, Component

KERNEL = Kernel(max_weight=1.2, max_weight_position=1.0, min_weight=0.4, min_weight_distance=1.75)


def sample_layout(parameter: str, axis: int = 0, num_matrices: int = 1) -> ParameterLayout:
    """A parameter that the checkpoint holds under its own name and as it is."""
    place = StoredLayout(tensor=parameter, axis=axis, num_matrices=num_matrices)
    return ParameterLayout(parameter=parameter, axis=axis, num_matrices=num_matrices, stored=[place])


def sample_writer(
    layer: int = 0,
    component: Component = "mlp",
    *,
    shape: Sequence[int] = (8, 16),
    bias: bool | ParameterLayout = False,
    **changes: Any,
) -> Writer:
    """The writer `{layer}.{component}.weight`, hidden axis first; its bias, another, or none."""
    module = f"{layer}.{component}"
    fields: dict[str, Any] = {
        "module": module,
        "layer": layer,
        "component": component,
        "matrix": sample_layout(f"{module}.weight"),
        "bias": (sample_layout(f"{module}.bias") if bias else None) if isinstance(bias, bool) else bias,
        "norms": [],
        "multiplier": 1.0,
        "shape": list(shape),
        "dtype": "BF16",
        "shared_layers": [],
    }
    return Writer(**fields | changes)


def sample_writers(layers: int, **changes: Any) -> list[Writer]:
    """One writer of each component in every layer."""
    return [sample_writer(layer, component, **changes) for layer in range(layers) for component in COMPONENTS]


def sample_base(writers: Sequence[Writer] = (), **changes: Any) -> Base:
    """A pinned model of the hub, with these writers."""
    fields: dict[str, Any] = {
        "source": "examples/small",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "architecture": "Qwen3ForCausalLM",
        "stored_dtype": "bfloat16",
        "compute_dtype": "bfloat16",
        "quantization": "none",
        "layers": max((writer.layer for writer in writers), default=0) + 1,
        "hidden_size": 8,
        "vocabulary": 64,
        "unexplained": 3e-7,
        "incomplete": [],
        "padding_sensitive": False,
        "card": BaseCard(license="apache-2.0", license_name=None, license_link=None, language=["en"]),
        "files": [],
        "writers": list(writers),
    }
    return Base(**fields | changes)


def sample_direction(index: float = 1.5, position: int = 0, orthogonalize_to: int | None = None) -> DirectionRef:
    """A direction at a residual index."""
    return DirectionRef(position=position, index=index, orthogonalize_to=orthogonalize_to)


def sample_edit(writer: Writer, weight: float = 1.0, direction: DirectionRef | None = None) -> Edit:
    """The edit of a writer, its bias and the norms after it included."""
    return Edit(
        layer=writer.layer,
        component=writer.component,
        matrix=writer.matrix,
        bias=writer.bias,
        norms=writer.norms,
        strength=weight,
        direction=direction or sample_direction(),
    )


def sample_trial(number: int = 0, behaviour_rate: float = 0.1, kl: float = 0.01, **changes: Any) -> Trial:
    """A trial; `changes` are of its parameters."""
    fields: dict[str, Any] = {
        "direction_scope": "global",
        "direction_index": 1.5,
        "position": 0,
        "attention": KERNEL,
        "mlp": KERNEL,
    }
    parameters = TrialParameters(**fields | changes)
    return Trial(number=number, behaviour_rate=behaviour_rate, kl=kl, parameters=parameters)


def selected(trial: Trial) -> SelectedTrial:
    """A trial as a recipe names it."""
    return SelectedTrial(number=trial.number, behaviour_rate=trial.behaviour_rate, kl=trial.kl)


def sample_outcome(trial: Trial) -> TrialOutcome:
    """A trial as the search knows it."""
    return TrialOutcome(trial.number, {}, trial.parameters, Measured(trial.behaviour_rate, trial.kl), "", 1.0)


def sample_settings(**changes: Any) -> EditSettings:
    """What all trials share."""
    fields: dict[str, Any] = {
        "norm_preservation": "rows",
        "edit_bias": True,
        "post_norm": "compensate",
        "orthogonalize": "projected",
        "spans": [],
    }
    return EditSettings(**fields | changes)


def _split(changes: dict[str, Any]) -> tuple[EditSettings, dict[str, Any]]:
    """Settings with those changes that are of settings, and the other changes."""
    of_settings = {name: value for name, value in changes.items() if name in EditSettings.model_fields}
    return sample_settings(**of_settings), {name: value for name, value in changes.items() if name not in of_settings}


def sample_front(trials: Sequence[Trial], **changes: Any) -> Front:
    """A front of these trials; `changes` may be of its settings too."""
    settings, changes = _split(changes)
    fields: dict[str, Any] = {
        "settings": settings,
        "kl_tokens": 8,
        "base_behaviour_rate": 0.98,
        "one_shot": None,
        "trials": list(trials),
    }
    return Front(**fields | changes)


def sample_recipe(edits: Sequence[Edit], trial: Trial | None = None, **changes: Any) -> Recipe:
    """A recipe of these edits; `changes` may be of its settings too."""
    trial = trial or sample_trial()
    settings, changes = _split(changes)
    fields: dict[str, Any] = {
        "trial": selected(trial),
        "selection": "named by number",
        "parameters": trial.parameters,
        "settings": settings,
        "edits": list(edits),
    }
    return Recipe(**fields | changes)


def sample_origin(**changes: Any) -> PromptOrigin:
    """Return the record of a prompt set from a local file."""
    values: dict[str, Any] = {
        "source": "prompts/x.jsonl",
        "commit": None,
        "config": None,
        "system_prompt": None,
        "prompts": {"train": 12, "validation": 8, "test": 8},
        "dropped": {},
        "files": [FileDigest(name="x.jsonl", size=10, sha256="1" * 64)],
        "sha256": "2" * 64,
    }
    return PromptOrigin(**{**values, **changes})


def sample_run(stage: str, parameters: dict[str, Any] | None = None, **changes: Any) -> StageRun:
    """A stage's record of its run."""
    environment = Environment(
        python="3.11.9",
        packages={"torch": "2.6.0"},
        system="Linux",
        processor="x",
        vector_instructions="AVX2",
        threads=4,
        accelerator=None,
    )
    fields: dict[str, Any] = {"parameters": parameters or {}, "reads": [], "writes": [], "environment": environment}
    return StageRun(stage=stage, **fields | changes)


def record_upstream() -> None:
    """The records of the stages before merging, as if they had written the artifacts that lie here."""
    written = {"pin_model": BASE, "compute_directions": DIRECTIONS, "select_trial": RECIPE}
    for stage in BEFORE:
        path = written.get(stage)
        writes = [] if path is None else [digest_of(path).model_copy(update={"name": path.as_posix()})]
        write_json(run_file(stage), as_json(sample_run(stage, writes=writes)))


def sample_verdict(*, shown: bool = False, **changes: Any) -> Verdict:
    """The verdict on an ordinary response of five tokens, by markers."""
    fields: dict[str, Any] = {
        "marker": None,
        "span": None,
        "classifier": None,
        "probability": None,
        "degenerate": None,
        "tokens": 5,
        "cut": False,
        "correct": None,
    }
    return Verdict(shown=shown, markers=shown, **fields | changes)


def sample_evaluation() -> Evaluation:
    """Both models on a hundred test prompts of each set."""

    def share(value: float) -> Share:
        return Share(value=value, low=max(0, value - 0.02), high=min(1, value + 0.03), n=100)

    def scores(behaviour: float, accuracy: float) -> SetScores:
        return SetScores(behaviour_rate=share(behaviour), degenerate_rate=share(0), reference_accuracy=share(accuracy))

    return Evaluation(
        confidence=0.95,
        base=ModelScores(target=scores(0.99, 0), baseline=scores(0, 0.98)),
        edited=ModelScores(target=scores(0.04, 0.9), baseline=scores(0, 0.97)),
        kl_first_token=0.00213,
        kl_response=0.0151,
        reference_ceiling=0.99,
    )


def sample_classified() -> Evaluation:
    """The same, judged by a classifier that agrees with the markers on 28 of 40 responses."""

    def share(hits: int, n: int) -> Share:
        return Share(value=hits / n, low=hits / n / 2, high=1, n=n)

    used = ClassifierUsed(
        source="/home/lena/<judges>/teaware",
        commit=None,
        label="declines | politely",
        threshold=0.5,
        input="answer",
        files=[],
    )
    calibration = Calibration(
        both=16,
        markers_only=4,
        classifier_only=8,
        neither=12,
        agreement=share(28, 40),
        kappa=0.4,
        precision=share(16, 20),
        recall=None,
    )
    update = {"judge": "classifier", "classifier": used, "calibration": calibration}
    return sample_evaluation().model_copy(update=update)
