"""Settings of the predictor; the defaults are the ones measured to work, with the reason."""

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhysicsSettings(_Section):
    """Configure the prior's online fit."""

    window_rows: int = Field(default=256, ge=32, le=4096)
    """Rows kept per endpoint and target; with a half-life of 100 older ones weigh < 1/5."""
    half_life_rows: float = Field(default=100.0, gt=0)
    """A row counts half after so many further ones ..."""
    half_life_s: float = Field(default=60.0, gt=0)
    """... and so much time. It is forgotten when it is old by both clocks: by rows alone a busy
    fleet would forget within a second, by seconds alone a quiet one would forget everything."""
    fleet_rows: int = Field(default=1024, ge=64)
    """Rows, over all endpoints, the fleet's fit reads: bounds its cost."""
    level_rows: float = Field(default=8.0, gt=0)
    """What the day-0 level weighs, in rows: a server's first answers are slow ones."""
    fleet_ridge_rows: float = Field(default=30.0, gt=0)
    """What the day-0 coefficients, at that level, weigh, in rows that have their term: a
    stall of seconds else makes a rarely seen queue cost ten times what it does."""
    endpoint_ridge_rows: float = Field(default=30.0, gt=0)
    """What the fleet's coefficients weigh in an endpoint's own fit, likewise."""
    refit_rows: int = Field(default=32, ge=1)
    """An endpoint is refitted after 4, 8, 16 and then every this many of its rows."""
    fleet_refit_rows: int = Field(default=128, ge=1)
    """The fleet likewise, counting everyone's rows (at least four an endpoint)."""
    max_endpoints: int = Field(default=512, ge=1)
    """Endpoints remembered; beyond it the one longest without a label is forgotten."""


class CorrectionSettings(_Section):
    """Configure the online corrections of the log residual."""

    half_life_rows: float = Field(default=12.0, gt=0)
    """Half-life of an endpoint's bias, in its own rows."""
    shrink_rows: float = Field(default=6.0, ge=0)
    """A bias of n rows counts n / (n + this)."""
    cap_log: float = Field(default=0.8, gt=0)
    """Largest correction, in log seconds: what poisoned labels can do at most (x2.2)."""
    fleet_half_life_rows: float = Field(default=4.0, gt=0)
    """Half-life of the mean over all endpoints."""
    shared_half_life_rows: float = Field(default=60.0, gt=0)
    """Half-life of the one correction all candidates share in ranking."""
    learning_rate: float = Field(default=0.01, gt=0, le=1)
    """Step of the river regressor; larger ones oscillate under label delay."""


class MixtureSettings(_Section):
    """Configure how experts are weighed."""

    half_life_rows: float = Field(default=60.0, gt=0)
    """Half-life of the errors by which experts are weighed."""
    sharpness: float = Field(default=10.0, gt=0)
    """Weight is error to the minus this: an expert 20 % worse counts a sixth."""
    doubt_rows: float = Field(default=8.0, ge=0)
    """What an expert's assumed error weighs, in rows."""
    regime_rows: float = Field(default=20.0, ge=0)
    """Rows a regime needs before its own errors outweigh those of all regimes."""


class CalibrationSettings(_Section):
    """Configure the conformal quantiles."""

    window_rows: int = Field(default=150, ge=20)
    """Residuals kept at least, per regime, however old they are."""
    window_s: float = Field(default=120.0, ge=0)
    """They are kept at least so long: at a high rate so few would be of one moment only."""
    most_rows: int = Field(default=4000, ge=20)
    """Residuals kept at most: bounds memory, and what keeping them in order costs."""
    step: float = Field(default=0.002, ge=0, le=0.5)
    """Adaptive step of the level, per observation: larger ones swing under label delay."""
    stated_step: float = Field(default=0.003, ge=0, le=0.5)
    """By how much, in log, what was stated at dispatch and missed widens the 90 % quantile."""
    widest_log: float = Field(default=0.25, ge=0)
    """How far that goes."""
    cap_log: float = Field(default=1.5, gt=0)
    """Largest distance of the quantile from the prediction, in log seconds; uncapped it
    blows up after bursts."""
    default_log: float = Field(default=0.7, gt=0)
    """Distance before any data: a factor of two, which is wide for what follows."""
    default_rows: float = Field(default=10.0, gt=0)
    """What that default weighs, in rows."""


class DriftSettings(_Section):
    """Configure the Page-Hinkley test on the prequential log error."""

    delta_log: float = Field(default=0.05, ge=0)
    """Change of the mean error that is tolerated."""
    threshold_log: float = Field(default=8.0, gt=0)
    """Sum of excesses that is called drift."""


class OutputLengthSettings(_Section):
    """Configure the learned distribution of output lengths."""

    default_tokens: float = Field(default=200.0, gt=0)
    """Mean of the conversation traces (129 to 350 median) before any data."""
    default_rows: float = Field(default=4.0, gt=0)
    """What that default weighs, in requests."""
    shrink_rows: float = Field(default=16.0, gt=0)
    """Requests a tenant needs before its own lengths outweigh the fleet's."""
    half_life_rows: float = Field(default=500.0, gt=0)
    """A request counts half after so many further ones."""
    max_keys: int = Field(default=1024, ge=1)
    """Tenants remembered."""
    session_shrink_rows: float = Field(default=8.0, gt=0)
    """Requests a session needs before its own lengths outweigh its tenant's: of 4, 16 and
    64, fewer had the smaller log error on agents' traffic, 16 the smaller absolute one."""
    session_half_life_rows: float = Field(default=20.0, gt=0)
    """What a session is doing changes: longer ones lost on the longer of two traces."""
    max_sessions: int = Field(default=4096, ge=1)
    """Sessions remembered."""


class TrainingSettings(_Section):
    """Configure how boosted models are trained."""

    minimum_rows: int = Field(default=100, ge=20)
    """Labels of a target below which its trees would only add noise to the prior."""
    window_rows: int = Field(default=20_000, ge=100)
    """Newest rows that are trained on, at most."""
    expire_s: float = Field(default=3600.0, gt=0)
    """Rows this much older than the newest are dropped: the fleet they tell of is gone."""
    believable_log: float = Field(default=4.0, gt=0)
    """Labels further than this from today's physics, in log seconds (x55), do not train."""
    ratio_trees: int = Field(default=40, ge=1)
    """Trees of the model of the ratio to the prior."""
    ratio_learning_rate: float = Field(default=0.075, gt=0, le=1)
    """What each of them counts."""
    ratio_half_life_rows: float = Field(default=500.0, gt=0)
    """Its rows count half after so many further ones ..."""
    ratio_half_life_s: float = Field(default=200.0, gt=0)
    """... or so much time, whichever is the longer."""
    direct_trees: int = Field(default=40, ge=1)
    """Trees of the model of the target itself."""
    direct_learning_rate: float = Field(default=0.2, gt=0, le=1)
    """What each of them counts."""
    num_leaves: int = Field(default=15, ge=2, le=64)
    """Leaves of a tree, at most: a mask of them is one machine word."""
    lambda_l2: float = Field(default=5.0, ge=0)
    """Shrinks the leaves of trees toward zero."""
    evaluation_fraction: float = Field(default=0.2, gt=0, lt=0.9)
    """Newest share of the window the evaluation predicts before learning it."""
    evaluation_blocks: int = Field(default=1, ge=1)
    """Each block costs one training: two show whether errors grow with the model's age."""
    judged_rows: int = Field(default=30, ge=5)
    """Rows new to two models before they are compared: fewer tell them apart by chance."""
    continuations: int = Field(default=3, ge=0)
    """Rounds in a row that may continue a model instead of refitting it; 0 always refits."""
    continuation_rows: int = Field(default=300, ge=20)
    """Newest rows that a continued model learns from; more cost CPU and gained nothing."""
    continuation_share: float = Field(default=0.5, gt=0, le=1)
    """Trees it gets, as a share of those of a full model."""
    trial_rounds: int = Field(default=8, ge=2)
    """Every so many rounds a model is made both ways, to compare them on what comes next."""
    num_threads: int = Field(default=1, ge=1)
    """Threads of LightGBM."""
    seed: int = 0
    """Seed of LightGBM."""


class PredictorSettings(_Section):
    """Compose the sections of the predictor."""

    physics: PhysicsSettings = PhysicsSettings()
    correction: CorrectionSettings = CorrectionSettings()
    mixture: MixtureSettings = MixtureSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    drift: DriftSettings = DriftSettings()
    output_length: OutputLengthSettings = OutputLengthSettings()
    training: TrainingSettings = TrainingSettings()
    ttft_labels: int = Field(default=20, ge=0)
    """Labels after which TTFT predictions are trusted over the heuristic."""
    tpot_labels: int = Field(default=10, ge=0)
    """Likewise for TPOT, which varies less."""
    report_rows: int = Field(default=200, ge=10)
    """Window of the prequential error that is reported."""
