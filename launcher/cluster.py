"""cluster.yaml: the cluster in SLURM's own words, and what a matrix may ask of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from attention_models import UnknownNameError
from jobs.errors import InputError
from jobs.sweep_dir import check_name
from launcher.yaml_file import YamlFile

Executor = Literal["slurm", "local"]

# Where cluster.yaml is looked for: where the person stands, then at the project's top.
_PLACES = (Path("cluster.yaml"), Path(__file__).resolve().parent.parent / "cluster.yaml")

# `time: auto` is what a run needs, by what was measured, and this where nothing was.
AUTO = "auto"
UNMEASURED_MIN = 240

_MINUTES_IN = {"m": 1, "h": 60, "d": 1440}
_CLOCK = re.compile(r"(?:(\d{1,3})-)?(\d{1,6})(?::([0-5]?\d))?(?::([0-5]?\d))?", re.ASCII)


def parse_time_min(text: str) -> int:
    """A time limit in SLURM's notation, or such as "2h", in whole minutes (rounded up)."""
    if short := re.fullmatch(r"(\d{1,6})([mhd])", text, re.ASCII):
        minutes = int(short[1]) * _MINUTES_IN[short[2]]
    elif clock := _CLOCK.fullmatch(text):
        days, first, second, third = clock.groups(default="0")
        # SLURM reads `90` and `90:30` from the minutes on, `4:00:00` and `1-12` from the hours on.
        hours_first = clock[1] or clock[4]
        parts = (first, second, third) if hours_first else ("0", first, second)
        hours, mins, secs = map(int, parts)
        minutes = int(days) * 1440 + hours * 60 + mins + math.ceil(secs / 60)
    else:
        minutes = 0
    if minutes < 1:
        raise InputError(
            f"{text!r} is not a time limit; write minutes (90), H:MM:SS (4:00:00), "
            "D-HH:MM:SS (1-12:00:00), or such as 2h or 30m"
        )
    return minutes


def write_minutes(minutes: int) -> str:
    """As a person writes it: 2h, or 90m where it is no whole hour."""
    hours, rest = divmod(minutes, 60)
    return f"{minutes}m" if rest else f"{hours}h"


def _like(pattern: str, example: str) -> AfterValidator:
    """Text of one form only: these values stand in a batch script."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"{value!r} is not valid; write it like {example}")
        return value

    return AfterValidator(check)


def _time(value: str) -> str:
    try:
        parse_time_min(value)
    except InputError as error:
        raise ValueError(str(error)) from None
    return value


def _time_or_auto(value: str) -> str:
    return value if value == AUTO else _time(value)


def _number_as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


Words = Annotated[str, _like(r"[A-Za-z0-9][\w.-]*(,[A-Za-z0-9][\w.-]*)*", "gpu_8 or gpu_4,gpu_8")]
Gres = Annotated[str, _like(r"[a-z]\w*(:[A-Za-z1-9][\w.-]*)?(:[1-9]\d{0,2})?", "gpu:v100:1")]
Memory = Annotated[str, BeforeValidator(_number_as_text), _like(r"[1-9]\d{0,5}[KMGT]", "32G")]
Time = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_time)]
TimeOrAuto = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_time_or_auto)]
Count = Annotated[int, Field(ge=1, le=1024)]
Nodes = Annotated[str, _like(r"[A-Za-z0-9]([\w.,-]|\[[\d,-]+\])*", "n3 or n[1-4,7],gpu2")]
Mail = Annotated[str, _like(r"[\w.+-]+(@[\w.-]+)?", "name@example.org")]
MailType = Annotated[str, _like(r"[A-Z_0-9]+(,[A-Z_0-9]+)*", "END,FAIL")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resources(_Section):
    """What a matrix may set under `resources`. None means what the profile says."""

    profile: Annotated[str, _like(r"[A-Za-z0-9][\w-]{0,63}", "v100")] | None = None
    time: TimeOrAuto | None = None
    slice: Time | None = None
    mem: Memory | None = None
    cpus_per_task: Count | None = None
    gres: Gres | None = None
    workers: Count | None = None
    runs_per_gpu: Count | None = None
    mail_user: Mail | None = None
    mail_type: MailType | None = None


P = TypeVar("P", bound="_Profile")


class _Profile(_Section):
    def with_resources(self: P, resources: Resources) -> P:
        """This profile with a matrix's wishes; those that mean nothing to its executor fall away,
        so that one matrix runs on a cluster and on a workstation."""
        wishes = resources.model_dump(exclude_none=True, include=set(type(self).model_fields))
        return self.model_copy(update=wishes)


@dataclass(frozen=True)
class Layout:
    """How the tasks of a job are spread over nodes, and how many runs it trains.

    Each task has a GPU where there are GPUs, or shares one: then each is a run of its own.
    """

    nodes: int = 1
    tasks_per_node: int = 1
    runs_per_job: int = 1

    @property
    def gpus_per_node(self) -> int:
        return self.tasks_per_node // self.runs_per_job


class SlurmProfile(_Profile):
    """One way to ask SLURM for a GPU."""

    executor: Literal["slurm"] = "slurm"
    time: TimeOrAuto = Field(description="limit of one job, or auto: what its run needs")
    slice: Time | None = Field(None, description="no job is longer; its run is requeued, goes on")
    partition: Words | None = None
    account: Words | None = None
    qos: Words | None = None
    gres: Gres | None = None
    gpus_per_node: Count | None = Field(None, description="GPUs of a node, for runs on several")
    runs_per_gpu: Count = Field(1, description="runs on one GPU that share it, as one job")
    cpus_per_task: Count = 1
    mem: Memory | None = None
    constraint: Annotated[str, _like(r"[\w.&|!*,:()\[\]-]+", "v100&nvlink")] | None = None
    signal_delay_s: int = Field(120, ge=10, le=3600, description="warning before the limit")
    array_parallelism: int = Field(16, ge=1, description="tasks of an array that run at once")
    # A tuple, so that profiles can be compared by hash; in a file it is a list.
    setup: tuple[str, ...] = Field((), strict=False, description="shell lines before the run")
    exclude: Nodes | None = None
    nodelist: Nodes | None = None
    reservation: Words | None = None
    nice: int | None = Field(None, ge=0, le=2147483645, description="how far to step back")
    mail_user: Mail | None = None
    mail_type: MailType | None = None

    @property
    def time_min(self) -> int:
        """The limit of one job; with `time: auto`, that of one of which nothing is known."""
        given = [value for value in (self.time, self.slice) if value not in (None, AUTO)]
        return min(map(parse_time_min, filter(None, given)), default=UNMEASURED_MIN)

    @property
    def time_words(self) -> str:
        """Such as `8h`, or `auto in slices of 2h`."""
        return f"{self.time} in slices of {self.slice}" if self.slice else self.time

    def limited_to(self, minutes: int) -> SlurmProfile:
        """This profile for jobs of exactly so many minutes."""
        return self.model_copy(update={"time": write_minutes(minutes), "slice": None})

    def sharing(self, gpus: int) -> int:
        """How many runs of so many GPUs a GPU may have; one on several has them for itself."""
        return self.runs_per_gpu if gpus == 1 else 1

    def layout(self, gpus: int) -> Layout:
        """Where the tasks of a run go; InputError if it does not fit the nodes of this profile."""
        size = self.gpus_per_node
        if gpus == 1:
            return Layout(1, self.runs_per_gpu, self.runs_per_gpu)
        if size is None:
            raise InputError(
                f"gpus {gpus}: the profile does not say how many GPUs a node has; add "
                "`gpus_per_node: 4`, or whatever it is, to it in cluster.yaml"
            )
        if gpus > size and gpus % size:
            below = gpus // size * size
            raise InputError(
                f"gpus {gpus} do not fill nodes with gpus_per_node {size}. "
                f"Valid: 1 to {size}, and multiples of {size} such as {below} and {below + size}"
            )
        return Layout(max(1, gpus // size), min(gpus, size))

    def gres_per_node(self, layout: Layout) -> str | None:
        """The `gres` of all GPUs' tasks together, since SLURM counts it per node."""
        if self.gres is None:
            return None
        name, _, count = self.gres.rpartition(":")
        if not count.isdigit():
            name, count = self.gres, "1"
        return f"{name}:{int(count) * layout.gpus_per_node}"

    def mem_per_node(self, layout: Layout) -> str | None:
        """The tasks' `mem` taken together."""
        return self.mem and f"{int(self.mem[:-1]) * layout.tasks_per_node}{self.mem[-1]}"


class LocalProfile(_Profile):
    """Processes on this machine."""

    executor: Literal["local"] = "local"
    workers: Count | None = Field(None, description="runs at once; None leaves it to the launcher")
    runs_per_gpu: Count = Field(1, description="runs at once on each GPU, without `workers`")


Profile = SlurmProfile | LocalProfile
_PROFILES: dict[str, type[SlurmProfile] | type[LocalProfile]] = {
    "slurm": SlurmProfile,
    "local": LocalProfile,
}


@dataclass(frozen=True)
class Cluster:
    """The profiles by name; `default` is the SLURM profile that is used when none is named."""

    profiles: Mapping[str, Profile]
    default: str | None = None
    path: Path | None = None

    def profile(self, name: str | None, executor: Executor) -> Profile:
        """A profile by name, or the executor's default one."""
        fitting = {key: value for key, value in self.profiles.items() if value.executor == executor}
        name = name or (self.default if executor == "slurm" else next(iter(fitting), None))
        if name in fitting:
            return fitting[name]
        if name is None and executor == "local":
            return LocalProfile()
        source, valid = self.path or "cluster.yaml", ", ".join(fitting) or "none"
        if name is None:
            wrong = f"no {executor} profile was named, and there is no `default`. Valid: {valid}"
        elif name in self.profiles:
            other = self.profiles[name].executor
            wrong = f"profile {name!r} is for executor {other}, not {executor}. Valid: {valid}"
        else:
            wrong = str(UnknownNameError(f"{executor} profile", name, fitting))
        raise InputError(f"{source}: {wrong}")


def read_cluster(path: Path | None = None) -> Cluster:
    """cluster.yaml at `path`, else from here or the project's top, else this machine alone."""
    path = path or next((place for place in _PLACES if place.is_file()), None)
    if path is None:
        return Cluster({"local": LocalProfile()})
    file = YamlFile(path)
    file.mapping((), ("profiles", "default"))
    profiles = {name: _read_profile(file, name) for name in file.mapping(("profiles",))}
    default = file.get(("default",))
    slurm = [name for name in profiles if file.get(("profiles", name, "executor")) == "slurm"]
    if default is not None and default not in slurm:
        file.mistake(("default",), UnknownNameError("slurm profile", default, slurm))
    file.check()
    return Cluster({name: p for name, p in profiles.items() if p}, default, path)


def _read_profile(file: YamlFile, name: str) -> Profile | None:
    place = ("profiles", name)
    try:
        check_name("profile", name)
    except InputError as error:
        file.mistake(place, error)
    executor = str(file.mapping(place).get("executor", "(missing)"))
    if executor not in _PROFILES:
        file.mistake((*place, "executor"), UnknownNameError("executor", executor, _PROFILES))
        return None
    return file.validate(_PROFILES[executor], *place)
