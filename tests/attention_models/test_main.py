import subprocess
import sys

import pytest

from attention_models import MODELS, check_options
from attention_models.__main__ import main
from attention_models.published import TABLES, Table


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[str]]:
    """The lines under every heading."""
    main(arguments)
    sections = capsys.readouterr().out.strip().split("\n\n")
    return {lines[0]: lines[1:] for lines in map(str.splitlines, sections)}


def table(title: str) -> Table:
    (found,) = [table for table in TABLES if table.title == title]
    return found


def test_every_row_of_the_sources_is_a_network_that_can_be_built_with_these_options():
    for row in (row for table in TABLES for row in table.rows):
        check_options(row.model, row.options)


def test_the_tables_of_the_sources_are_complete():
    ablation = table("LambdaNetworks: Ablation Parameters").rows
    assert [row.model for row in ablation] == ["lambda_baseline50"] + 15 * ["lambda_resnet50"]
    assert len(table("LambdaNetworks: Experiments (CIFAR-10)").rows) == 6
    assert len(table("LambdaNetworks: Parameters").rows) == 4
    assert len(table("ResNeSt").rows) == 8
    assert len(table("Residual Attention Networks").rows) == 4


def test_just_the_rows_in_which_the_source_is_wrong_say_what_it_should_be(capsys):
    sections = printed(capsys, "lambda_*", "bam*", "sresnet*", "resnet*", "attention*")
    wrong = [
        (line.split()[0], line.rpartition("  ")[2].strip())
        for lines in sections.values()
        for line in lines
        if "should be" in line
    ]
    assert wrong == [
        ("lambda_resnet50", "should be 14 M parameters"),
        ("lambda_resnet50", "should be 14.78 M parameters"),
        ("lambda_resnet50", "should be 15.1 M parameters"),
    ]


def test_a_row_shows_ours_and_the_published_figure_as_printed_and_the_difference(capsys):
    sections = printed(capsys, "bam_resnet50")
    assert list(sections) == [
        "Networks",
        "bam_resnet50: ResNet-50 with BAM after stages 1-3. Options:",
        "BAM (implus/PytorchInsight, README)",
    ]
    (_, networks), _, (heading, row) = sections.values()
    assert networks.split() == ["bam_resnet50", "224", "1,000", "25,915,099", "4.171", "G"]
    assert "parameters" in heading
    assert row.split()[4:] == ["4.171", "G", "25.92", "M", "(-0.00)", "4.205", "G", "(-0.03)"]


def test_all_eight_flops_of_the_resnest_card_are_called_wrong(capsys):
    sections = printed(capsys, "resnest*")
    rows = sections["ResNeSt (timm's model card, 'Parameters' and 'FLOPs')"][1:9]
    assert all("should be" in row and "G MACs" in row for row in rows)
    assert not any("M parameters" in row for row in rows)


def test_a_fit_is_not_used_to_call_its_source_wrong(capsys):
    sections = printed(capsys, "attention452_cifar")
    (line,) = list(sections.values())[2][1:]
    assert "a fit" in line
    assert "should be" not in line


def test_other_sizes_are_counted_without_the_figures_of_the_sources(capsys):
    sections = printed(capsys, "resnet50", "--input-size", "32", "--classes", "100")
    assert len(sections) == 2
    assert "23,705,252" in sections["Networks"][1]


def test_options_are_set_for_all_networks_that_are_shown(capsys):
    sections = printed(capsys, "resnet50", "--set", "attention=se", "--set", "stem=imagenet")
    assert "resnet50 attention=se stem=imagenet" in sections["Networks"][1]
    assert "28,088,024" in sections["Networks"][1]


def test_a_size_that_a_network_cannot_take_is_said_in_its_line(capsys):
    sections = printed(capsys, "attention56", "resnet18", "--input-size", "4")
    assert "cannot be counted" in sections["Networks"][1]
    assert "11,6" not in sections["Networks"][1]
    assert "resnet18" in sections["Networks"][2]


def test_whoever_reads_the_first_lines_only_sees_no_error():
    command = f"{sys.executable} -m attention_models 'resnet*' | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Networks\n", "")


def test_patterns_match_networks_of_other_libraries_too(capsys):
    lines = printed(capsys, "torchvision/resnet1?", "--input-size", "32")["Networks"]
    assert [line.split()[0] for line in lines[1:]] == ["torchvision/resnet18"]


def test_a_network_of_another_library_is_counted_too(capsys):
    assert "25,557,032" in str(printed(capsys, "torchvision/resnet50"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet5O"], "did you mean 'resnet50'"),
        (["timm/resnet5"], "is not a known network of timm"),
        (["resnet50", "--classes", "0"], "takes a whole number from 1, not '0'"),
    ],
)
def test_a_mistake_is_answered_with_what_is_valid_and_exit_code_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_launcher_has_it_as_a_command():
    code = "from launcher.cli import main; main()"
    command = [sys.executable, "-c", code, "models", "resnet_small", "--input-size", "8"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "78,002" in done.stdout


def test_every_network_of_the_registry_has_a_summary_that_fits_on_a_line():
    for name, entry in MODELS.items():
        assert 0 < len(entry.summary) < 80, name
