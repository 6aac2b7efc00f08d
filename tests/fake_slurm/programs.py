"""The fake sbatch, squeue, sacct, scontrol and scancel: one program under five names.

It loads few modules and no site packages, because it is started many times. What a real program
would take but this one does not know ends with status 90, so that no test passes by accident.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Task = dict[str, Any]
State = dict[str, Any]

OPEN = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "REQUEUE_HOLD")
UNKNOWN_JOB = "Invalid job id specified"


class CommandError(Exception):
    """Ends the program with what it says on stderr and this status."""

    def __init__(self, says: str, status: int = 1) -> None:
        super().__init__(says)
        self.status = status


def main(program: str, words: list[str]) -> int:
    """Run one of SLURM's programs; its path says where the state is."""
    folder = os.path.dirname(os.path.dirname(program))
    command = os.path.basename(program)
    with open(f"{folder}/calls", "a") as calls:
        calls.write(json.dumps([command, *words]) + "\n")
    try:
        with open_state(folder) as state:
            fault = take_fault(state, command)
            lines = [] if fault and not fault["done"] else COMMANDS[command](state, words)
        if fault and fault["hangs"]:
            time.sleep(3600)
        if fault:
            raise CommandError(fault["says"], fault["status"])
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.status
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


@contextmanager
def open_state(folder: str) -> Iterator[State]:
    """The state, for whoever holds it alone; changes are kept."""
    with open(f"{folder}/state.json", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        state = json.loads(text)
        try:
            yield state
        finally:
            if (changed := json.dumps(state)) != text:
                file.seek(0)
                file.write(changed)
                file.truncate()


def take_fault(state: State, command: str) -> dict[str, Any] | None:
    fault = state["faults"].get(command)
    if fault and fault["times"] is not None:
        fault["times"] -= 1
        if fault["times"] == 0:
            del state["faults"][command]
    return fault


def parse(words: list[str], flags: str, valued: str) -> tuple[dict[str, str], list[str]]:
    """Options and the other words: `flags` take no value, `valued` take one."""
    options: dict[str, str] = {}
    others: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in flags.split():
            options[name] = ""
        elif name in valued.split():
            options[name] = value if equals else left.pop(0)
        elif word.startswith("-"):
            raise CommandError(f"the fake does not know the option {word}", 90)
        else:
            others.append(word)
    return options, others


# ------------------------------------------------------------------------------- sbatch

SBATCH_FLAGS = "--parsable --test-only"


def sbatch(state: State, words: list[str]) -> list[str]:
    given, (script, *_) = parse(words, SBATCH_FLAGS, "--array --job-name --begin")
    asked = script_options(script) | given
    if "--test-only" in asked:
        form = os.environ.get("SLURM_TIME_FORMAT", "%Y-%m-%dT%H:%M:%S")
        start = time.strftime(form, time.localtime(time.time() + 3600))
        said = f"sbatch: Job {state['next_id']} to start at {start} using 1 processors"
        raise CommandError(f"{said} on nodes n1 in partition low", 0)
    job_id = accept(state, asked)
    return [job_id if "--parsable" in asked else f"Submitted batch job {job_id}"]


def accept(state: State, asked: dict[str, str]) -> str:
    """The id of a new job, or of an array of jobs; CommandError if there is a limit."""
    array, _, throttle = asked.get("--array", "").partition("%")
    indices = read_indices(array) if array else [None]
    largest = state["config"]["MaxArraySize"]
    if any(index is not None and index >= largest for index in indices):
        raise refusal("Invalid job array specification")
    limit = state["limit"]
    if limit and len(indices) + sum(is_open(task) for task in state["tasks"]) > limit["tasks"]:
        raise refusal(limit["says"])
    job_id = str(state["next_id"])
    state["next_id"] += len(indices)
    for number, index in enumerate(indices):
        task = make_task(state, asked, job_id, index, number)
        state["tasks"].append(task | {"throttle": throttle})
    return job_id


def refusal(says: str) -> CommandError:
    return CommandError(f"sbatch: error: Batch job submission failed: {says}")


def script_options(script: str) -> dict[str, str]:
    options = {}
    with open(script) as file:
        for line in file:
            if line.startswith("#SBATCH "):
                name, _, value = line.removeprefix("#SBATCH ").strip().partition("=")
                options[name] = value.strip("'")
    return options


def make_task(
    state: State, asked: dict[str, str], job_id: str, index: int | None, number: int
) -> Task:
    return {
        "name": asked["--job-name"],
        "job_id": job_id,
        "raw_id": str(int(job_id) + number),
        "index": index,
        "user": state["user"],
        "submitted": int(time.time()),
        "word": "PENDING",
        "reason": "BeginTime" if "--begin" in asked else "Priority",
        "nodes": "",
        "start": None,
        "end": None,
        "earlier": [],
        "in_squeue": True,
        "in_sacct": True,
        "hidden_asks": dict.fromkeys(("squeue", "sacct"), state["lag_asks"]),
    }


def is_open(task: Task) -> bool:
    return task["word"] in OPEN


def read_indices(text: str) -> list[int]:
    """`0-4,7` in full."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def write_indices(indices: list[int], room: int) -> str:
    """`0-4,7`, cut where it is longer than `room` letters, unless that is 0."""
    spans: list[list[int]] = []
    for index in indices:
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
    return text if not room or len(text) < room else f"{text[: room - 4]}..."


# ------------------------------------------------------------------------------- squeue

SQUEUE_COLUMNS: dict[str, Callable[[Task], object]] = {
    "A": lambda task: task["raw_id"],
    "F": lambda task: task["job_id"],
    "K": lambda task: "N/A" if task["index"] is None else task["index"],
    "N": lambda task: task["nodes"],
    "S": lambda task: task["start"] or "N/A",
    "T": lambda task: task["word"].split()[0],
    "V": lambda task: task["submitted"],
    "e": lambda task: task["end"] or "N/A",
    "i": lambda task: task_id(task),
    "j": lambda task: task["name"],
    "r": lambda task: task["reason"],
    "u": lambda task: task["user"],
}


def task_id(task: Task) -> str:
    return task["job_id"] if task["index"] is None else f"{task['job_id']}_{task['index']}"


def squeue(state: State, words: list[str]) -> list[str]:
    options, _ = parse(words, "-h -r", "-t -o -j --name")
    shown = visible(state, "squeue", options.get("--name"))
    if "-j" in options:
        shown = [task for task in shown if is_named(task, options["-j"])]
        if not shown:
            raise CommandError(f"slurm_load_jobs error: {UNKNOWN_JOB}")
    if options.get("-t") != "all":
        shown = [task for task in shown if is_open(task)]
    if not {"-r", "-j"} & options.keys() and any(task["index"] is not None for task in shown):
        raise CommandError("the fake shows arrays with -r only", 90)
    return [fill(options["-o"], task) for task in shown]


def visible(state: State, command: str, names: str | None) -> list[Task]:
    """The tasks that a command knows of by now, of these names."""
    asked = names.split(",") if names is not None else None
    shown = []
    for task in state["tasks"]:
        if asked is not None and task["name"] not in asked:
            continue
        if task["hidden_asks"][command] > 0:
            task["hidden_asks"][command] -= 1
        elif task[f"in_{command}"]:
            shown.append(task)
    return shown


def is_named(task: Task, job_or_task: str) -> bool:
    return job_or_task in (task["job_id"], task_id(task))


def fill(columns: str, task: Task) -> str:
    text = []
    letters = iter(columns)
    for letter in letters:
        text.append(str(SQUEUE_COLUMNS[next(letters)](task)) if letter == "%" else letter)
    return "".join(text)


# ------------------------------------------------------------------------------- sacct

SACCT_COLUMNS: dict[str, Callable[[Task], object]] = {
    "End": lambda task: task["end"] or "Unknown",
    "JobID": lambda task: task.get("together") or task_id(task),
    "JobName": lambda task: task["name"],
    "NodeList": lambda task: task["nodes"] or "None assigned",
    "Start": lambda task: task["start"] or "Unknown",
    "State": lambda task: task["word"],
    "Submit": lambda task: task["submitted"],
    "User": lambda task: task["user"],
}


def sacct(state: State, words: list[str]) -> list[str]:
    options, _ = parse(words, "-a -X -n -P -D", "--name -S -E -o")
    if not state["accounting"]:
        raise CommandError("Slurm accounting storage is disabled")
    columns = options["-o"].split(",")
    shown = []
    waiting: dict[tuple[str, str], list[Task]] = {}
    for task in visible(state, "sacct", options.get("--name")):
        if task["index"] is not None and not task["nodes"] and not task["earlier"]:
            waiting.setdefault((task["job_id"], task["word"]), []).append(task)
        else:
            shown += [task | earlier for earlier in task["earlier"]] if "-D" in options else []
            shown.append(task)
    shown += [together(tasks) for tasks in waiting.values()]
    return ["|".join(str(SACCT_COLUMNS[column](task)) for column in columns) for task in shown]


def together(tasks: list[Task]) -> Task:
    """Tasks of an array that have never begun are one row of the accounting."""
    throttle = f"%{tasks[0]['throttle']}" if tasks[0]["throttle"] else ""
    room = int(os.environ.get("SLURM_BITSTR_LEN", "64"))
    indices = write_indices([task["index"] for task in tasks], room)
    return tasks[0] | {"together": f"{tasks[0]['job_id']}_[{indices}{throttle}]"}


# ------------------------------------------------------------------------------- scontrol, scancel


def scontrol(state: State, words: list[str]) -> list[str]:
    match words:
        case ["show", "config"]:
            return [f"{key:<23} = {value}" for key, value in state["config"].items()]
        case ["release", ids]:
            for task in known(state, ids):
                task |= {"word": "PENDING", "reason": "Priority"}
            return []
        case ["requeue", one]:
            for task in known(state, one):
                if task["word"] == "PENDING":
                    raise CommandError(f"{task_id(task)}: Job is pending execution")
                requeue(task, "REQUEUED")
            return []
    raise CommandError(f"the fake does not know scontrol {' '.join(words)}", 90)


def known(state: State, ids: str) -> list[Task]:
    """The tasks of these ids that the controller has in mind, `7_1,3` meaning two."""
    found = []
    job_id = ""
    for one in ids.split(","):
        job_id = one.partition("_")[0] if "_" in one else job_id
        whole = one if "_" in one or not job_id else f"{job_id}_{one}"
        tasks = [task for task in state["tasks"] if task["in_squeue"] and is_named(task, whole)]
        if not tasks:
            raise CommandError(f"{UNKNOWN_JOB} for job {whole}\nslurm_suspend error: {UNKNOWN_JOB}")
        found += tasks
    return found


def requeue(task: Task, word: str) -> None:
    """The task waits again; the accounting keeps how its last start ended."""
    ended = {key: task[key] for key in ("nodes", "start")}
    task["earlier"].append(ended | {"word": word, "end": int(time.time())})
    task |= {"word": "PENDING", "reason": "BeginTime", "nodes": "", "start": None, "end": None}


def scancel(state: State, words: list[str]) -> list[str]:
    options, ids = parse(words, "", "--signal")
    for task in state["tasks"]:
        if "--signal" not in options and is_open(task) and any(is_named(task, one) for one in ids):
            task |= {"word": f"CANCELLED by {os.getuid()}", "end": int(time.time())}
    return []


COMMANDS: dict[str, Callable[[State, list[str]], list[str]]] = {
    "sbatch": sbatch,
    "squeue": squeue,
    "sacct": sacct,
    "scontrol": scontrol,
    "scancel": scancel,
}
