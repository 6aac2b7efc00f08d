import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.errors import InputError
from launcher import cluster
from launcher.cluster import (
    Layout,
    LocalProfile,
    Resources,
    SlurmProfile,
    parse_time_min,
    read_cluster,
)


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "c.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def complaint(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_cluster(path)
    return str(caught.value).replace(f"{path}:", "c.yaml:").splitlines()


def test_the_shipped_file_has_one_v100_and_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read_cluster()
    profile = found.profile(None, "slurm")
    assert isinstance(profile, SlurmProfile)
    assert (profile.gres, profile.time_min) == ("gpu:v100:1", 24 * 60)
    assert found.profile(None, "local") == LocalProfile()


def test_every_line_commented_out_in_the_shipped_file_is_valid_when_it_is_filled_in(write):
    text = (Path(cluster.__file__).parent.parent / "cluster.yaml").read_text()
    lines = []
    for line in text.splitlines():
        key = line.strip().removeprefix("# ").split(":")[0]
        known = key in SlurmProfile.model_fields or key in LocalProfile.model_fields
        lines.append(line.replace("# ", "", 1) if known and line.strip().startswith("# ") else line)
    filled = "\n".join(line for line in lines if line.strip() not in ("setup: []", "setup:"))
    profile = read_cluster(write(filled)).profile("v100", "slurm")
    assert isinstance(profile, SlurmProfile)
    assert profile.partition == "gpu"
    assert profile.mail_user == "me@example.org"
    assert profile.constraint == "v100_32g"
    assert profile.gpus_per_node == 4


def test_a_file_in_the_current_directory_goes_before_the_shipped_one(write, monkeypatch):
    path = write("profiles: {here: {executor: local, workers: 2}}")
    path.rename(path.with_name("cluster.yaml"))
    monkeypatch.chdir(path.parent)
    assert read_cluster().profile(None, "local") == LocalProfile(workers=2)


def test_without_any_file_there_is_this_machine_alone(monkeypatch):
    monkeypatch.setattr(cluster, "_PLACES", ())
    found = read_cluster()
    assert found.profile(None, "local") == LocalProfile()
    with pytest.raises(InputError, match="no slurm profile was named, and there is no `default`"):
        found.profile(None, "slurm")


def test_a_mistake_names_its_line_and_what_is_valid_and_all_are_told_at_once(write):
    path = write(
        """\
        default: loc
        profiles:
          v100:
            executor: slurm
            mem: 32
            tme: 1
            cpus_per_task: "4"
            gres: "gpu:v100:1; rm"
            time: 4:00:00:00
          "bad name": {executor: locl}
          scalar: 3
          loc:
            executor: local
            workers: 0
        defalt: 3
        """
    )
    assert complaint(path) == [
        "c.yaml:1: 'loc' is not a known slurm profile. Valid: v100",
        "c.yaml:5: mem: '32' is not valid; write it like 32G",
        "c.yaml:6: 'tme' is not a known key; did you mean 'time'? Valid: time, mem, "
        "mail_user, mail_type and 17 others",
        "c.yaml:7: cpus_per_task: Input should be a valid integer, not '4'",
        "c.yaml:8: gres: 'gpu:v100:1; rm' is not valid; write it like gpu:v100:1",
        "c.yaml:9: time: '4:00:00:00' is not a time limit; write minutes (90), H:MM:SS (4:00:00), "
        "D-HH:MM:SS (1-12:00:00), or such as 2h or 30m",
        "c.yaml:10: 'locl' is not a known executor; did you mean 'local'? Valid: local, slurm",
        "c.yaml:10: profile 'bad name' is not valid: use up to 64 letters, digits, '-' and '_', "
        "beginning with a letter or a digit",
        "c.yaml:11: '(missing)' is not a known executor. Valid: local, slurm",
        "c.yaml:11: scalar must be a mapping (`key: value`), not 3",
        "c.yaml:14: workers: Input should be greater than or equal to 1, not 0",
        "c.yaml:15: 'defalt' is not a known key; did you mean 'default'? Valid: default, profiles",
    ]


@pytest.mark.parametrize(
    ("name", "executor", "text"),
    [
        ("v10", "slurm", "'v10' is not a known slurm profile; did you mean 'v100'? Valid: v100"),
        ("here", "slurm", "profile 'here' is for executor local, not slurm. Valid: v100"),
        ("v100", "local", "profile 'v100' is for executor slurm, not local. Valid: here"),
        (None, "slurm", "no slurm profile was named, and there is no `default`. Valid: v100"),
    ],
)
def test_a_profile_that_does_not_fit_is_answered_with_those_that_do(write, name, executor, text):
    path = write("profiles: {v100: {executor: slurm, time: 2h}, here: {executor: local}}")
    with pytest.raises(InputError) as caught:
        read_cluster(path).profile(name, executor)
    assert str(caught.value) == f"{path}: {text}"


def test_a_matrix_changes_what_the_executor_of_a_profile_knows():
    wishes = Resources(time="2h", mem="8G", workers=3)
    slurm = SlurmProfile(time="24:00:00", gres="gpu:v100:1").with_resources(wishes)
    assert slurm == SlurmProfile(time="2h", gres="gpu:v100:1", mem="8G")
    assert LocalProfile().with_resources(wishes) == LocalProfile(workers=3)


@given(st.integers(1, 1024), st.integers(1, 16))
def test_every_gpu_of_a_run_has_a_task_and_only_whole_nodes_are_taken_beyond_one(gpus, size):
    profile = SlurmProfile(time="2h", gpus_per_node=size)
    if gpus > size and gpus % size:
        with pytest.raises(InputError, match=f"gpus {gpus} do not fill nodes"):
            profile.layout(gpus)
        return
    layout = profile.layout(gpus)
    assert layout.nodes * layout.tasks_per_node == gpus
    assert layout.tasks_per_node <= size
    assert layout.nodes == 1 or layout.tasks_per_node == size


def test_a_run_that_does_not_fit_the_nodes_is_answered_with_what_does():
    with pytest.raises(InputError) as caught:
        SlurmProfile(time="2h", gpus_per_node=4).layout(6)
    assert str(caught.value) == (
        "gpus 6 do not fill nodes with gpus_per_node 4. "
        "Valid: 1 to 4, and multiples of 4 such as 4 and 8"
    )
    with pytest.raises(InputError, match="`gpus_per_node: 4`, or whatever"):
        SlurmProfile(time="2h").layout(2)
    assert SlurmProfile(time="2h").layout(1) == Layout(nodes=1, tasks_per_node=1)


@pytest.mark.parametrize(
    ("gres", "of_four"),
    [
        ("gpu:v100:1", "gpu:v100:4"),
        ("gpu:v100", "gpu:v100:4"),
        ("gpu:2", "gpu:8"),
        ("gpu:a100_1g.5gb:1", "gpu:a100_1g.5gb:4"),
        ("gpu:1g.10gb", "gpu:1g.10gb:4"),
        ("gpu:3090:1", "gpu:3090:4"),
        ("gpu", "gpu:4"),
        (None, None),
    ],
)
def test_gres_and_mem_are_those_of_all_tasks_of_a_node(gres, of_four):
    profile = SlurmProfile(time="2h", gres=gres, mem="16G")
    layout = Layout(nodes=2, tasks_per_node=4)
    assert (profile.gres_per_node(layout), profile.mem_per_node(layout)) == (of_four, "64G")
    assert SlurmProfile(time="2h").mem_per_node(layout) is None


def test_runs_that_share_a_gpu_ask_for_it_once_and_for_their_own_memory():
    profile = SlurmProfile(time="2h", gres="gpu:v100:1", mem="4G", gpus_per_node=4, runs_per_gpu=3)
    layout = profile.layout(1)
    assert layout == Layout(nodes=1, tasks_per_node=3, runs_per_job=3)
    assert (profile.gres_per_node(layout), profile.mem_per_node(layout)) == ("gpu:v100:1", "12G")
    assert profile.layout(4) == Layout(nodes=1, tasks_per_node=4), "has its GPUs for itself"


@pytest.mark.parametrize("field", ["exclude", "nodelist"])
@pytest.mark.parametrize("nodes", ["n3", "n[1-4,7],gpu2", "a-1.b[01-20]c[1,3]"])
def test_nodes_are_written_as_slurm_writes_them(field, nodes):
    assert getattr(SlurmProfile(time="2h", **{field: nodes}), field) == nodes
    for wrong in (f"{nodes};rm", f"$({nodes})", f"{nodes}]", f"-{nodes}", "n[1-"):
        with pytest.raises(ValidationError, match="write it like n3 or n"):
            SlurmProfile(time="2h", **{field: wrong})


@pytest.mark.parametrize("field", ["profile", "time", "mem", "gres", "mail_user", "mail_type"])
@given(text=st.text(alphabet="a1:-_G $;`\n\"'|&()\\", min_size=1))
def test_no_resource_of_a_matrix_can_carry_shell_syntax(field, text):
    try:
        value = getattr(Resources.model_validate({field: text}), field)
    except ValidationError:
        return
    assert not set(value) & set(" $;`\n\"'|&()\\")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("4:00:00", 240),
        ("1-12:00:00", 2160),
        ("1-12:30", 2190),
        ("1-12", 2160),
        ("30:00", 30),
        ("90:30", 91),
        ("0:01", 1),
        ("2h", 120),
        ("30m", 30),
        ("2d", 2880),
    ],
)
def test_times_are_read_as_slurm_reads_them(text, minutes):
    assert parse_time_min(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "0:00", "h", "1:60", "4:00:00:00", "-1", "2 h", "90\n"])
def test_what_is_no_time_limit_is_refused(text):
    with pytest.raises(InputError, match="is not a time limit; write minutes"):
        parse_time_min(text)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_time_written_in_full_is_rounded_up_to_minutes(days, hours, mins, secs):
    seconds = ((days * 24 + hours) * 60 + mins) * 60 + secs
    if seconds:
        text = f"{days}-{hours:02}:{mins:02}:{secs:02}"
        assert parse_time_min(text) == -(-seconds // 60)


@pytest.mark.parametrize(
    ("time", "slice_", "minutes"),
    [("8h", None, 480), ("8h", "2h", 120), ("1h", "2h", 60), ("auto", None, 240), ("auto", 30, 30)],
)
def test_a_job_takes_the_time_of_its_run_or_a_slice_of_it(time, slice_, minutes):
    profile = SlurmProfile(time=time, slice=slice_)
    assert profile.time_min == minutes
    asked = SlurmProfile(time="500:00:00").with_resources(Resources(time=time, slice=slice_))
    assert asked.time_min == minutes
    assert SlurmProfile(time=time, slice=slice_).limited_to(90).time_min == 90


def test_only_the_time_of_a_run_is_found_out():
    with pytest.raises(ValueError, match="'auto' is not a time limit"):
        SlurmProfile(time="8h", slice="auto")
