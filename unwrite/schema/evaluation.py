"""The records of what was measured: rates, divergences and comparisons of the base and the edited model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unwrite.schema.artifacts import Artifact, FileDigest
from unwrite.schema.parsing import FORMAT
from unwrite.terms import Degeneration, Intervention, InterventionVector, JudgeInput, JudgeName, SetName

Probability = Annotated[float, Field(ge=0, le=1)]
PromptSet = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""The name of a prompt set. A record can come from anyone: what is printed holds no control characters."""


class Share(Artifact):
    """A share of n with its Wilson interval."""

    value: Probability
    low: float
    high: float
    n: int


class Interval(Artifact):
    """The bootstrap interval of a mean."""

    low: float
    high: float


class SetScores(Artifact):
    """One model on one prompt set.

    `cut_rate` is the share of responses as long as the limit; `mean_tokens` is the mean length of the responses.
    Either is None where it was not recorded, and `reference_accuracy` where no prompt has a reference.
    """

    behaviour_rate: Share
    degenerate_rate: Share
    cut_rate: Share | None = None
    reference_accuracy: Share | None
    mean_tokens: float | None = None


class ModelScores(Artifact):
    """One model on both prompt sets, and on the extra sets by name (`evaluate.sets`)."""

    target: SetScores
    baseline: SetScores
    sets: dict[PromptSet, SetScores] = Field(default_factory=dict)

    def by_set(self) -> dict[str, SetScores]:
        """Return the scores of every prompt set, by name."""
        return {"target": self.target, "baseline": self.baseline, **self.sets}


class Comparison(Artifact):
    """A rate of both models on the same prompts, compared by the exact test of McNemar (1947).

    `prompts` is the name of the set, `figure` the name of the rate. `only_base` counts the prompts whose response has
    the property in the base model alone, `only_edited` those in the edited model alone; only these tell the models
    apart. `p_adjusted` is `p` after Holm's correction (1979) over all comparisons of the evaluation.
    """

    prompts: PromptSet
    figure: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    n: int
    only_base: int
    only_edited: int
    p: Probability
    p_adjusted: Probability


class ClassifierUsed(Artifact):
    """The classifier that judged: what params.yaml says about it, its commit on the hub, and its files.

    `label` is the name of the label that stands for the behaviour.
    """

    source: str
    commit: str | None
    label: str
    threshold: float
    input: JudgeInput
    files: list[FileDigest]


class Calibration(Artifact):
    """How the markers agree with the classifier, over every stored response of both models.

    The counts are of responses that both, one or neither of the judges takes for the behaviour. `precision` is the
    share of the markers' finds that the classifier confirms, `recall` the share of the classifier's finds that the
    markers have; None where there is nothing to count. `kappa` is Cohen's (1960); None where chance alone would agree.
    """

    both: int
    markers_only: int
    classifier_only: int
    neither: int
    agreement: Share
    kappa: float | None
    precision: Share | None
    recall: Share | None


class Gate(Artifact):
    """A bound that a release must keep: a figure of the evaluation by its path, the bound, and what it was."""

    figure: Annotated[str, Field(pattern=r"^[a-z0-9_.]+$")]
    bound: Annotated[str, Field(pattern=r"^[<>]=? [0-9.e+-]+$")]
    value: float
    passed: bool


class Evaluation(Artifact):
    """`artifacts/evaluation.json`: both models on the test split; KL divergences in nats, over baseline prompts.

    `confidence` is the confidence of the intervals, `reference_ceiling` the reference accuracy before the model had the
    behaviour. `judge` names the judge whose verdicts the behaviour rates count, except for `own_markers`: prompt sets
    that markers of their own judge where a classifier judges the others.
    """

    format: Literal[2] = FORMAT
    confidence: float
    judge: JudgeName = "markers"
    classifier: ClassifierUsed | None = None
    own_markers: list[PromptSet] = Field(default_factory=list)
    base: ModelScores
    edited: ModelScores
    kl_first_token: float
    kl_first_token_interval: Interval | None = None
    kl_response: float
    kl_response_interval: Interval | None = None
    reference_ceiling: float | None
    comparisons: list[Comparison] = Field(default_factory=list)
    calibration: Calibration | None = None
    gates: list[Gate] = Field(default_factory=list)


class Verdict(Artifact):
    """One response, judged: a line of `artifacts/verdicts/{base,edited}.SET.jsonl`, in the order of the responses.

    shown: the verdict that the rates count: the classifier's if there is one, else the markers'.
    markers: whether the answer contains a marker.
    marker, span: the first one found, as the list spells it, and the characters of the response that it covers.
    classifier, probability: the classifier's verdict, and the probability that it gives to the behaviour.
    degenerate: why the response is degenerate; None if it is not.
    tokens, cut: the length of the response, and whether that is the limit.
    correct: whether the answer is the reference; None without a reference.
    """

    shown: bool
    markers: bool
    marker: str | None
    span: tuple[int, int] | None
    classifier: bool | None
    probability: Probability | None
    degenerate: Degeneration | None
    tokens: int
    cut: bool
    correct: bool | None


class CausalRate(Artifact):
    """The rates under one intervention on the residual stream of the base model.

    `prompts` is the set. `intervention` is none, add (at one residual index) or ablate (projected out at every residual
    index). `vector` is the direction, the whole difference of the means, or random, drawn with `seed`. `length` is how
    much was added, in the units of the stream; controls have the length of what they are compared with.
    `same_responses` is the share of responses that are, to the letter, those of the untouched model.
    """

    prompts: SetName
    intervention: Intervention
    vector: InterventionVector | None
    seed: int | None
    length: float | None
    behaviour_rate: Share
    degenerate_rate: Share
    same_responses: Share


class CausalCheck(Artifact):
    """One direction: whether adding it brings the behaviour out, and removing it removes it.

    `position` and `residual_index` name the direction, `strength` is the sum of the strengths |λ| of the recipe's edits
    with it. `added_at` is the residual index where vectors are added.
    """

    position: int
    residual_index: float
    strength: float
    added_at: int
    rates: list[CausalRate]


class Causality(Artifact):
    """`artifacts/causality.json`: what directions of the recipe do to the base model, on validation prompts.

    `untouched` are the rates without an intervention. `max_tokens` is the longest response.
    """

    format: Literal[2] = FORMAT
    confidence: float
    max_tokens: int
    untouched: list[CausalRate]
    checks: list[CausalCheck]


class Metrics(Artifact):
    """`artifacts/metrics.json`: the figures that people compare, under names that fit a terminal.

    target, target_base: behaviour rates of the edited and the base model on target prompts.
    baseline: behaviour rate on baseline prompts, of the edited model.
    degenerate: degenerate rate of the edited model, on the prompt set where it is higher.
    accuracy: reference accuracy of the edited model on target prompts; None without references.
    kl_first, kl: mean KL divergence on baseline prompts, in nats: at the first token, and over the response.
    auc: how well the best direction separates the prompt sets; 0.5 is chance.
    """

    target: float
    target_base: float
    baseline: float
    degenerate: float
    accuracy: float | None
    kl_first: float
    kl: float
    auc: float


class Benchmark(Artifact):
    """One figure of one task of lm-evaluation-harness, for both models on the same documents.

    `figure` is the metric, and `selection` how the harness chose the answer from a response (its filter). `version` is
    the task's. None stands for a figure or an error that the harness does not state as a finite number.
    `base_error`, `edited_error`: standard errors as the harness states them.
    `difference_error`: standard error of the mean difference over documents; None where the figure is no such mean.
    """

    task: str
    version: str | None
    figure: str
    selection: str
    higher_is_better: bool | None
    n: int
    base: float | None
    base_error: float | None
    edited: float | None
    edited_error: float | None
    difference: float | None
    difference_error: float | None


class Benchmarks(Artifact):
    """`artifacts/benchmarks.json`: both models on the tasks of `evaluate.benchmarks`; `harness` is its version."""

    format: Literal[2] = FORMAT
    harness: str | None
    scores: list[Benchmark]
