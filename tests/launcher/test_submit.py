from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import ExecutionError, InputError
from jobs.source_code import code_version, hash_of_code
from jobs.sweep_dir import SweepDir
from launcher.cluster import Cluster, LocalProfile, Resources, SlurmProfile, read_cluster
from launcher.matrix import read_matrix
from launcher.plan import Verb
from launcher.status import sweep_status
from launcher.submit import (
    advise_on_nodes,
    check_data,
    check_gpus,
    check_was_submitted,
    choose_profile,
    exclude_nodes,
    last_profile,
    plan_submission,
    run_profile,
    run_profiles,
    settle_wishes,
    with_wishes,
)
from tests.launcher.answers import add_submission
from tests.launcher.conftest import add_attempt

CLUSTER = Cluster(
    {"v100": SlurmProfile(time="4:00:00"), "desk": LocalProfile(workers=3)}, default="v100"
)


def test_planning_writes_nothing(matrix: Path, tmp_path: Path) -> None:
    submission = plan_submission(read_matrix(matrix), tmp_path / "runs")
    assert [action.verb for action in submission.actions] == [Verb.START, Verb.START]
    assert not (tmp_path / "runs").exists()


def test_every_planned_run_is_on_disk_before_the_first_starts(
    sweep: SweepDir, matrix: Path
) -> None:
    named = list(read_matrix(matrix).runs)
    assert sweep.named_runs() == named
    assert sorted(run.run_id for run in sweep.runs()) == sorted(named)


def test_a_changed_matrix_extends_the_sweep_and_keeps_every_version(
    sweep: SweepDir, matrix: Path
) -> None:
    changed = read_matrix(matrix, ["model=[sresnet_small,preact_resnet_small]"])
    submission = plan_submission(changed, sweep.path.parent)
    submission.write()
    assert [run_id.split("-")[0] for run_id in submission.unnamed] == ["resnet_small"]
    assert len(sweep.runs()) == 3
    assert len(sweep.named_runs()) == 2
    newest = sweep.newest_matrix()
    assert newest is not None
    assert newest[0] == 2
    assert "preact_resnet_small" in newest[1]


def test_what_a_run_alone_asks_for_is_kept_as_long_as_its_matrix_says_so(
    sweep: SweepDir, matrix: Path
) -> None:
    own = "overrides: [{when: model == resnet_small, set: {resources.time: 8h}}]\n"
    plain = matrix.read_text()
    base = SlurmProfile(time="4:00:00", mem="8G")
    for text, time in ((plain + own, "8h"), (plain, "4:00:00")):
        matrix.write_text(text)
        plan_submission(read_matrix(matrix), sweep.path.parent).write()
        first, second = map(sweep.run, sweep.named_runs())
        assert run_profile(first, base) == base.model_copy(update={"time": time})
        assert run_profile(second, base) == base


@pytest.mark.parametrize("of_profile", [{}, {"slice": "1h", "mem": "8G"}])
def test_a_null_takes_back_what_the_matrix_wishes_and_leaves_what_the_profile_says(
    of_profile: dict[str, str], sweep: SweepDir, matrix: Path
) -> None:
    wishes = "{time: auto, slice: 2h, mem: 32G, runs_per_gpu: 4}"
    null = "resources: {time: null, slice: null, mem: null, runs_per_gpu: null}"
    own = f"overrides: [{{when: model == resnet_small, set: {{{null}}}}}]"
    matrix.write_text(f"{matrix.read_text()}resources: {wishes}\n{own}\n")
    profile = SlurmProfile(time="4h", **of_profile)
    asked = settle_wishes(read_matrix(matrix), profile)
    base = with_wishes(profile, asked.resources)
    first, second = asked.runs
    assert run_profiles(asked, base) == {first: profile, second: base}
    plan_submission(asked, sweep.path.parent).write()
    assert run_profile(sweep.run(first), base) == profile
    assert run_profile(sweep.run(second), base) == base
    assert run_profile(sweep.run(first), LocalProfile()) == LocalProfile()


def test_wishes_that_cannot_be_had_are_refused(sweep: SweepDir, matrix: Path) -> None:
    base = SlurmProfile(time="4:00:00", signal_delay_s=120)
    own = "overrides: [{when: model == resnet_small, set: {resources.time: 3}}]\n"
    matrix.write_text(matrix.read_text() + own)
    with pytest.raises(InputError, match="before half of the time is over"):
        run_profiles(read_matrix(matrix), base)
    run = sweep.runs()[0]
    run.write_resources({"time": "soon"})
    with pytest.raises(InputError, match=f"what {run.run_id} asks for is damaged: time: 'soon'"):
        run_profile(run, base)


def test_a_profile_of_another_version_is_told_and_not_guessed(sweep: SweepDir) -> None:
    add_submission(sweep, job_id="77", profile={"time": "10", "cores": 4}, code="c")
    with pytest.raises(InputError, match=r"cannot be had any more: cores: .*takes today's"):
        last_profile(sweep)


def test_an_error_in_the_code_is_left_until_the_code_is_another_one_or_it_is_asked_for(
    sweep: SweepDir, matrix: Path
) -> None:
    run = sweep.run(sweep.named_runs()[0])

    def verb(**choices: Any) -> Verb:
        return plan_submission(read_matrix(matrix), sweep.path.parent, **choices).actions[0].verb

    add_attempt(run, cause="code_error", code=hash_of_code())
    assert verb(executor="slurm") is Verb.LEAVE
    assert verb(executor="slurm", retry_failed=True) is Verb.RETRY
    add_attempt(run, cause="code_error", code="of yesterday")
    assert verb(executor="slurm") is Verb.RETRY
    add_attempt(run, cause="code_error", code=code_version())
    assert verb(executor="local") is Verb.LEAVE


def test_nodes_that_failed_twice_are_named_and_excluded_on_request(sweep: SweepDir) -> None:
    first, second = sweep.runs()
    add_attempt(first, cause="node_failure", node="n3")
    add_attempt(first, cause="node_failure", node="n4")
    add_attempt(second, cause="device_unfit", node="n3")
    statuses = sweep_status(sweep)
    profile = SlurmProfile(time="10", exclude="n1")
    advice = advise_on_nodes(statuses, profile, sweep)
    assert advice is not None
    assert advice.startswith("  n3 failed more than once; `launcher resume tiny --exclude-failed`")
    nodes = [node for status in statuses for node in status.failed_nodes]
    profile = exclude_nodes(profile, nodes)
    assert profile.exclude == "n1,n3,n4"
    assert advise_on_nodes(statuses, profile, sweep) is None
    assert exclude_nodes(SlurmProfile(time="10"), []).exclude is None


def test_a_run_that_someone_edited_stops_the_submission(sweep: SweepDir, matrix: Path) -> None:
    path = sweep.runs()[0].path / "config.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 9'))
    with pytest.raises(InputError, match="was edited"):
        plan_submission(read_matrix(matrix), sweep.path.parent)


def test_only_a_run_that_has_not_begun_needs_the_weights_that_it_begins_with(
    matrix: Path, tmp_path: Path
) -> None:
    submission = plan_submission(read_matrix(matrix, ["init_from=no.pt"]), tmp_path / "runs")
    submission.write()
    first, second = submission.sweep.runs()
    first.write_attempt({"attempt": 1, "started_unix_s": 0.0, "pid": 1})  # type: ignore[typeddict-item]
    check_data(submission.sweep, [first.run_id])
    with pytest.raises(InputError, match=r"there is no file of weights .*no\.pt"):
        check_data(submission.sweep, [first.run_id, second.run_id])


def test_a_sweep_that_slurm_never_had_is_not_trained_here_by_itself(
    sweep: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(InputError, match="planned, but never submitted"):
        check_was_submitted(sweep)
    check_was_submitted(SweepDir(sweep.path.parent / "foreground"))  # has no matrix
    monkeypatch.setattr("shutil.which", lambda name: None)
    check_was_submitted(sweep)


def test_where_slurm_does_not_answer_it_is_said_that_nothing_was_submitted(
    matrix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*anything: object, **facts: object) -> None:
        raise ExecutionError("`squeue` failed: Unable to contact slurm controller")

    monkeypatch.setattr("launcher.submit.sweep_status", down)
    with pytest.raises(ExecutionError, match=r"(?s)`squeue` failed: .*Nothing was submitted: give"):
        plan_submission(read_matrix(matrix), tmp_path / "runs")


def test_workers_are_of_this_machine_alone() -> None:
    with pytest.raises(InputError, match="--workers 2: on SLURM, array_parallelism"):
        check_gpus({"run": 1}, SlurmProfile(time="1:00:00"), 2)


def test_a_matrix_for_the_cluster_also_runs_here() -> None:
    chosen = choose_profile(CLUSTER, "local", None, Resources(profile="v100", workers=2))
    assert chosen == LocalProfile(workers=2)


@pytest.mark.parametrize("has_slurm", [True, False])
def test_auto_takes_slurm_where_there_is_an_sbatch(
    has_slurm: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if has_slurm:
        (tmp_path / "sbatch").touch(mode=0o755)
    chosen = choose_profile(CLUSTER, "auto", None, Resources(time="2h"))
    assert chosen.executor == ("slurm" if has_slurm else "local")
    if isinstance(chosen, SlurmProfile):
        assert chosen.time_min == 120
    assert choose_profile(CLUSTER, "auto", "desk", Resources()).executor == "local"
    assert choose_profile(CLUSTER, "auto", "v100", Resources()).executor == "slurm"


def test_a_warning_that_leaves_no_time_to_train_is_refused() -> None:
    with pytest.raises(InputError, match="before half of the time is over"):
        choose_profile(CLUSTER, "slurm", "v100", Resources(time="3"))


def test_the_local_profile_of_the_matrix_is_used() -> None:
    chosen = choose_profile(CLUSTER, "local", None, Resources(profile="desk"))
    assert chosen == LocalProfile(workers=3)


def test_an_unknown_profile_is_told_with_the_known_ones() -> None:
    for name, resources in [("dsk", Resources()), (None, Resources(profile="dsk"))]:
        with pytest.raises(InputError, match="'dsk' is not a known local profile; did you mean"):
            choose_profile(CLUSTER, "local", name, resources)


def test_the_shipped_cluster_file_is_valid() -> None:
    cluster = read_cluster(Path(__file__).parents[2] / "cluster.yaml")
    assert {"v100", "local"} <= set(cluster.profiles)
