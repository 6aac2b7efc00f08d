"""RunConfig: every option of a training, and the identity that follows from it.

Two runs are the same run when the options that can change the result are the same. The identity
is the canonical JSON of those that differ from their defaults, so a default must never change and
a new option's default must mean "as before": otherwise every stored run would get a new name.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from attention_models import (
    MODELS,
    UnknownNameError,
    check_model_name,
    check_options,
    declared_options,
)
from jobs.data.files import FILE_SETS, missing_files
from jobs.errors import InputError

SCHEMA = 1
ID_DIGITS = 12
DATASETS = tuple(sorted([*FILE_SETS, "digits", "imagefolder", "synthetic"]))


# Every option that a network of ours takes, as a matrix writes it.
NETWORK_OPTIONS = sorted(
    {f"model_options.{option}" for entry in MODELS.values() for option in entry.options}
)

# What a person can ask for all options.
OPTIONS_LISTED_BY = "python -m jobs.train --help"


class _CannotChangeResult:
    """Marks an option that is left out of the identity."""


CannotChangeResult = _CannotChangeResult()

# Larger numbers are typing errors, and JSON's readers have their limits.
LARGEST = 10**9
Count = Annotated[int, Field(le=LARGEST)]
Images = Annotated[int | None, Field(le=LARGEST)]
Pixels = Annotated[int | None, Field(le=4096)]
Epoch = Annotated[int, Field(ge=1, le=LARGEST)]


class RunConfig(BaseModel):
    """One training with one configuration and one seed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,  # whoever looks at runs checks none
    )

    model: str = Field(description="network, a name from the registry")
    model_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the network, such as model_options.stem=cifar"
    )
    dataset: str = Field("cifar10", description=f"one of {', '.join(DATASETS)}")
    image_folder: Annotated[str, Field(pattern=r"^([A-Za-z0-9][\w.-]*)?$")] = Field(
        "",
        description="dataset imagefolder: the folder's name in data_dir; it holds train/CLASS/ "
        "and val/CLASS/",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of initialisation, order and augmentation")
    train_images: Images = Field(None, ge=2, description="use only the first N training images")
    test_images: Images = Field(None, ge=1, description="use only the first N test images")

    epochs: Count = Field(150, ge=1, description="passes over the training images")
    batch_size: Count = Field(128, ge=2, description="images per step, over all GPUs")
    gpus: int = Field(
        1, ge=1, le=1024, description="GPUs, or on CPU nodes tasks, that share each batch"
    )
    bn: Literal["local", "sync"] = Field(
        "local",
        description="batch norm over the images that one GPU sees at once, or sync: that all do",
    )
    accumulate_steps: Count = Field(
        1, ge=1, description="cut each batch in so many parts and add up their gradients"
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd or adamw")
    lr: float = Field(0.1, gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    nesterov: bool = Field(False, description="use Nesterov's form of SGD's momentum")
    weight_decay: float = Field(5e-4, ge=0, description="pull of the parameters towards zero")
    decay: Literal["all", "weights"] = Field(
        "all",
        description="what decays: all parameters, or weights, not biases, norms and position "
        "embeddings",
    )
    clip_norm: float = Field(
        0.0, ge=0, description="scale gradients down to this norm if it is larger; 0 does not"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of a label that is spread over all classes in training"
    )
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="evaluate and keep a moving average of the weights, of which a step "
        "leaves this share; 0 does not",
    )
    schedule: Literal["cosine", "restarts", "step", "multistep"] = Field(
        "cosine", description="of the learning rate: cosine, restarts, step or multistep"
    )
    lr_min: float = Field(0.0, ge=0, description="cosine, restarts: where the curve would end")
    restart_epochs: Count = Field(10, ge=1, description="restarts: epochs of the first cosine")
    restart_factor: Count = Field(
        2, ge=1, description="restarts: each cosine is so many times longer than the one before"
    )
    lr_step_epochs: Count = Field(30, ge=1, description="schedule step: epochs between drops")
    lr_milestones_epochs: list[Epoch] = Field(
        default_factory=list, description="schedule multistep: epochs after which the rate drops"
    )
    lr_step_factor: float = Field(
        0.1, gt=0, le=1, description="schedules step, multistep: factor of a drop"
    )
    warmup_epochs: float = Field(
        0.0, ge=0, le=LARGEST, description="epochs of linear rise from zero to lr"
    )

    loading: Literal["auto", "memory", "stream"] = Field(
        "auto",
        description="memory: keep the images on the device and augment them there; stream: read "
        "them by workers; auto: an image folder is streamed if it is large or its sizes differ",
    )
    image_px: Pixels = Field(
        None,
        ge=1,
        description="side of training images, needed where they are streamed (default: the shorter "
        "side of what is in memory)",
    )
    test_px: Pixels = Field(None, ge=1, description="size of test images (default: as image_px)")
    test_crop: float = Field(
        1.0, gt=0, le=1, description="side of the test images' centre crop, as share of the image"
    )
    normalisation: Literal["set", "imagenet"] = Field(
        "set",
        description="mean and deviation of the colours: those of the data set, or imagenet: those "
        "that published weights expect; streamed images always have these",
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="of resized images: bilinear or bicubic"
    )
    crop: Literal["shift", "resized"] = Field(
        "shift",
        description="random crop: shift the central square, resized to image_px, by up to "
        "crop_padding_px, or resized: a part of random size and shape of the image, resized",
    )
    crop_padding_px: int = Field(
        4, ge=0, le=256, description="crop shift: black margin that a square is shifted into"
    )
    crop_scale_min: float = Field(
        0.08, gt=0, le=1, description="crop resized: smallest share of the image's area"
    )
    crop_ratio_max: float = Field(
        4 / 3, ge=1, le=100, description="crop resized: longest side over the shorter one"
    )
    flip: bool = Field(True, description="mirror half of the training images")
    augment: Literal[
        "none", "randaugment", "autoaugment_imagenet", "autoaugment_cifar10", "autoaugment_svhn"
    ] = Field(
        "none",
        description="none, randaugment, autoaugment_imagenet, autoaugment_cifar10 or "
        "autoaugment_svhn",
    )
    randaugment_ops: int = Field(2, ge=1, le=14, description="randaugment: operations per image")
    randaugment_magnitude: int = Field(9, ge=0, le=30, description="randaugment: their strength")
    cutout_px: int = Field(
        0, ge=0, le=LARGEST, description="side of a random square that is blanked; 0 blanks none"
    )
    mixup_alpha: float = Field(
        0.0, ge=0, le=LARGEST, description="blend pairs of images by a share from Beta(a, a)"
    )
    cutmix_alpha: float = Field(
        0.0,
        ge=0,
        le=LARGEST,
        description="paste a rectangle of another image, of a share from Beta(a, a); with "
        "mixup_alpha, one of the two for each pair",
    )
    init_from: str = Field(
        "",
        description="file of weights to begin with, ours, timm's or torchvision's: its path, "
        "relative to data_dir. The path is part of a run's identity, what is in it is not",
    )
    eval_only: bool = Field(False, description="only evaluate the weights of init_from")

    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "fp32",
        description="of the network's arithmetic: fp32, bf16, fp16 (on a GPU) or auto, which is "
        "what the first attempt's device does best",
    )
    channels_last: bool = Field(False, description="keep images in the order that GPUs prefer")
    compile: bool = Field(False, description="train with torch.compile")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of torch (default: what the job may use)"
    )

    data_dir: Annotated[Path, CannotChangeResult] = Field(
        Path("data"), description="folder with the data sets' files"
    )
    stage_dir: Annotated[str, CannotChangeResult] = Field(
        "",
        description="folder on the node that the data is copied to first, such as $SLURM_TMPDIR",
    )
    workers: Annotated[int | None, CannotChangeResult] = Field(
        None, ge=0, le=256, description="processes that load streamed images (default: one per CPU)"
    )
    log_every_steps: Annotated[Count, CannotChangeResult] = Field(
        0, ge=0, description="steps between lines of the log within an epoch; 0 writes none"
    )
    tensorboard: Annotated[bool, CannotChangeResult] = Field(
        False, description="write TensorBoard event files too"
    )
    checkpoint_every_s: Annotated[float, CannotChangeResult] = Field(
        600.0, ge=0, description="seconds between checkpoints; 0 is every step"
    )
    progress_every_s: Annotated[float, CannotChangeResult] = Field(
        30.0, ge=0, le=60, description="seconds between heartbeats in progress.json"
    )
    # A run that is stopped for this has no result, and goes on from there if it is told to.
    when_stuck: Annotated[Literal["stop", "go_on"], CannotChangeResult] = Field(
        "stop", description="a run that only guesses, in training and test: stop or go_on"
    )
    stuck_after: Annotated[float, CannotChangeResult] = Field(
        0.2,
        gt=0,
        le=1,
        description="share of the epochs, at least 10, in a row that make it stuck",
    )
    keep: Annotated[Literal["none", "final", "best"], CannotChangeResult] = Field(
        "final", description="checkpoint that stays after the end: none, final or best"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: object, info: Any) -> object:
        takes_truth = cls.model_fields[info.field_name].annotation is bool
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) and not takes_truth:
                raise ValueError(f"{str(item).lower()} is not a value of {info.field_name}")
        return value

    @field_validator("model")
    @classmethod
    def _known_network(cls, value: str) -> str:
        check_model_name(value)
        return value

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str) -> str:
        if value not in DATASETS:
            raise UnknownNameError("data set", value, DATASETS)
        return value

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, values: Any) -> Any:
        for name in values:
            if name not in cls.model_fields:
                raise UnknownNameError("option", name, cls.model_fields, OPTIONS_LISTED_BY)
        return values

    @model_validator(mode="after")
    def _options_fit_the_network(self) -> RunConfig:
        declared = declared_options(self.model)
        options = check_options(self.model, self.model_options)
        # An option that is given at its default is the same run as one that is not given.
        said = {
            key: value
            for key, value in options.items()
            if key not in declared or value != declared[key].default
        }
        object.__setattr__(self, "model_options", said)
        return self

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> RunConfig:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: needs a momentum above 0")
        if self.lr_min > self.lr:
            raise ValueError(f"lr_min: {self.lr_min} is above lr, which is {self.lr}")
        if self.batch_size < 2 * self.accumulate_steps * self.gpus:
            on = f" on each of {self.gpus} GPUs" if self.gpus > 1 else ""
            raise ValueError(
                f"accumulate_steps: {self.accumulate_steps} parts of a batch of {self.batch_size}"
                f"{on} have less than two images; at most {self.batch_size // 2 // self.gpus}"
            )
        if (self.dataset == "imagefolder") != bool(self.image_folder):
            raise ValueError(
                f"image_folder: {self.image_folder!r} does not go with dataset {self.dataset}; it "
                "names the folder in data_dir for dataset imagefolder, and for no other"
            )
        if self.loading == "stream" and self.dataset != "imagefolder":
            raise ValueError(f"loading: only an imagefolder is streamed, not {self.dataset}")
        if self.eval_only and not self.init_from:
            raise ValueError("eval_only: needs init_from, the file of the weights")
        if self.eval_only:
            object.__setattr__(self, "epochs", 1)  # what is written is the record of one
        milestones = self.lr_milestones_epochs
        if milestones != sorted(set(milestones)):
            raise ValueError(f"lr_milestones_epochs: {milestones} do not rise")
        if self.schedule == "multistep" and not milestones:
            raise ValueError("lr_milestones_epochs: schedule multistep needs some, as in [60, 90]")
        return self

    @classmethod
    def counting_fields(cls) -> list[str]:
        """The options that can change the result."""
        return list(_counting_defaults())

    @property
    def identity(self) -> dict[str, Any]:
        """The options that can change the result and differ from their defaults."""
        free, values = self.free_fields, vars(self)
        return {
            name: values[name]
            for name, default in _counting_defaults().items()
            if values[name] != default and name not in free
        }

    @property
    def free_fields(self) -> frozenset[str]:
        """The options that cannot change the result."""
        # Batch norm over all GPUs computes the same on any number of them.
        return _free_fields() | {"gpus"} if self.bn == "sync" else _free_fields()

    @property
    def by_name(self) -> dict[str, Any]:
        """Every option by its name in a matrix; of the network, those that nobody gave, too."""
        options = vars(self) | {"data_dir": str(self.data_dir)}
        del options["model_options"]
        of_network = self.network_options.items()
        return options | {f"model_options.{name}": value for name, value in of_network}

    @property
    def network_options(self) -> dict[str, Any]:
        """Every option of the network, those that nobody gave at their defaults."""
        return network_options(self.model, self.model_options)

    @property
    def init_path(self) -> Path:
        """The file of weights to begin with."""
        return self.data_dir / self.init_from

    @property
    def says_auto(self) -> bool:
        """Whether the first attempt finds out what an option means, for all that follow."""
        loading = self.loading == "auto" and self.dataset == "imagefolder"
        return loading or self.precision == "auto"

    @property
    def run_id(self) -> str:
        return make_run_id(self.identity)

    def to_document(self) -> dict[str, Any]:
        """What `config.json` holds: the whole configuration and what it is checked against."""
        config = self.model_dump(mode="json")
        return {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "identity": self.identity,
            "config": config,
            "sha256": _sha256(config),
        }


def network_options(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a network, those that are not given at their defaults."""
    declared = declared_options(model)
    return {name: option.default for name, option in declared.items()} | dict(given)


# Asked of each of 10,000 runs, and the same for all.
@functools.cache
def _counting_defaults() -> dict[str, Any]:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in RunConfig.model_fields.items()
        if CannotChangeResult not in field.metadata
    }


@functools.cache
def _free_fields() -> frozenset[str]:
    return frozenset(RunConfig.model_fields) - _counting_defaults().keys()


def missing_data(config: RunConfig) -> str:
    """What to do if the files of a run's data set are not there; empty if they are."""
    if config.dataset == "imagefolder":
        return _missing_image_folder(config.data_dir / config.image_folder)
    return missing_files(config.dataset, config.data_dir) if config.dataset in FILE_SETS else ""


def missing_weights(config: RunConfig) -> str:
    """What is wrong if the file of weights that a run begins with is not there, else empty."""
    if not config.init_from or config.init_path.is_file():
        return ""
    return (
        f"init_from: there is no file of weights {config.init_path}; give its path, or one "
        "relative to data_dir"
    )


def _missing_image_folder(folder: Path) -> str:
    train, val, test = (folder / name for name in ("train", "val", "test"))
    if train.is_dir() and val.is_dir() != test.is_dir():
        return ""
    found = ", ".join(path.name for path in (train, val, test) if path.is_dir())
    return (
        f"{folder} is no image folder: it must hold train/CLASS/ and val/CLASS/ with the images of "
        "each class, where test/ may stand for val/, but not beside it. "
        + (f"Found: {found}" if found else "None of them is there")
    )


def make_config(values: Mapping[str, Any]) -> RunConfig:
    """A RunConfig, or an InputError with one line per mistake."""
    try:
        return RunConfig.model_validate(dict(values))
    except ValidationError as error:
        raise InputError("\n".join(mistakes(error))) from None


def mistakes(error: ValidationError) -> list[str]:
    """One line per mistake, in the words of the options: `epochs: 0 is not ...`."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        cause = item.get("ctx", {}).get("error")
        if item["type"] == "missing":
            text = "is missing"
        else:
            text = str(cause) if cause else f"{item['msg']}, not {item['input']!r}"
        lines.append(f"{where}: {text}" if where else text)
    return lines


def read_document(document: Any, run_id: str) -> RunConfig:
    """The configuration stored for `run_id`, checked against the stored digests.

    The run's name is compared with the stored identity, not with what today's code would derive:
    a run stays what it was when it was planned. Raises InputError for an edited document.
    """
    try:
        intact = (
            document["run_id"] == run_id
            and _is_named(document["identity"], run_id)
            and _is_digest(document["config"], document["sha256"])
        )
        schema = document["schema"]
    except (KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise InputError(
            "its configuration was edited after it was planned; restore the file, "
            "or remove the run's folder and submit the changed matrix"
        )
    if schema != SCHEMA:
        raise InputError(f"it has schema {schema}, and this version reads {SCHEMA}")
    stored = document["config"]
    known = vars(_defaults()).keys()
    if not stored.keys() <= known:
        names = ", ".join(sorted(stored.keys() - known))
        raise InputError(f"it has options that this version does not know: {names}")
    # Its values were checked when it was planned, maybe where other libraries are installed.
    config = _defaults().model_copy()
    vars(config).update(stored, data_dir=_path(stored["data_dir"]))
    return config


def changed_options(config: RunConfig) -> dict[str, Any]:
    """The options that differ from their defaults, as JSON has them."""
    defaults = vars(_defaults())
    changed = {name: value for name, value in vars(config).items() if value != defaults[name]}
    if "data_dir" in changed:
        changed["data_dir"] = str(config.data_dir)
    return changed


def option_of(changed: Mapping[str, Any], name: str) -> Any:
    """An option of the configuration with these changed options, as JSON has it."""
    return changed[name] if name in changed else vars(_defaults())[name]


@functools.cache
def _defaults() -> RunConfig:
    """What a stored configuration does not say; copying it costs a fifth of making another one."""
    return RunConfig.model_construct(model="")


@functools.cache
def _path(text: str) -> Path:
    """Of thousands of configurations, most name the same folder."""
    return Path(text)


def changed_document(document: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """A stored document with today's values of the options that cannot change the result."""
    new = document["config"] | config.model_dump(mode="json", include=set(config.free_fields))
    return {**document, "config": new, "sha256": _sha256(new)}


def make_run_id(identity: Mapping[str, Any]) -> str:
    """A readable head and 12 hex digits, such as `resnet18-cifar100-s0-3f2a9c1d07be`."""
    return f"{_head(identity)}-{_sha256(identity)[:ID_DIGITS]}"


def _is_named(identity: Mapping[str, Any], run_id: str) -> bool:
    """Whether this is what `make_run_id` makes of it."""
    head, _, digits = run_id.rpartition("-")
    return head == _head(identity) and _is_digest(identity, digits, ID_DIGITS)


def _head(identity: Mapping[str, Any]) -> str:
    dataset = identity.get("dataset", _defaults().dataset)
    dataset = identity.get("image_folder", dataset)
    model = identity["model"].replace("/", "-")
    return f"{model}-{dataset}-s{identity.get('seed', 0)}"


def _is_digest(value: Any, digest: object, digits: int | None = None) -> bool:
    """Whether this is the digest of a value, or its first digits.

    First in the writing of a faster library, which writes the same bytes as ours unless there is a
    float that it writes in another way.
    """
    written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    is_same = hashlib.sha256(written).hexdigest()[:digits] == digest
    return is_same or _sha256(value)[:digits] == digest


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(value: Any) -> str:
    return hashlib.sha256(_canonical.encode(value).encode()).hexdigest()
