from __future__ import annotations

import pytest

from launcher.reasons import REASONS, explain_reason


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("Priority", "other jobs are before it (Priority)"),
        ("JobHeldUser", "its owner holds it: `launcher resume` releases it (JobHeldUser)"),
        ("AssocGrpGRES", "all jobs of your account together have all the GPUs that your"),
        ("AssocGrpGRESMinutes", "the GPU time of your account is used up: take another one"),
        ("AssocGrpGRESRunMinutes", "all jobs of your account together have all the GPU time"),
        ("AssocGrpWallLimit", "the time of your account is used up"),
        ("AssocGrpJobsLimit", "as many jobs run as your account allows"),
        ("AssocMaxJobsLimit", "as many of your jobs run as your account allows"),
        ("AssocMaxWallDurationPerJobLimit", "it asks for more time than your account allows: corr"),
        ("QOSMaxJobsPerUserLimit", "as many of your jobs run as its QOS allows"),
        ("QOSMaxGRESPerUser", "your jobs have all the GPUs that its QOS allows"),
        ("QOSMaxGRESPerNode", "it asks for more GPUs than its QOS allows: correct the profile"),
        ("QOSMinGRES", "it asks for fewer GPUs than its QOS wants"),
        ("QOSMinCpuNotSatisfied", "it asks for fewer CPUs than its QOS wants"),
        ("MaxGRESPerAccount", "all jobs of your account together have all the GPUs"),
    ],
)
def test_a_reason_is_a_sentence_that_says_what_can_be_done(reason: str, said: str) -> None:
    assert explain_reason(reason).startswith(said)
    assert explain_reason(reason).endswith(f" ({reason})")


def test_what_slurm_adds_to_its_word_is_kept() -> None:
    said = explain_reason("ReqNodeNotAvail, UnavailableNodes:n[1-4]")
    assert said.startswith(REASONS["ReqNodeNotAvail"])
    assert said.endswith("(ReqNodeNotAvail, UnavailableNodes:n[1-4])")


@pytest.mark.parametrize("reason", ["", "A_WordOfTomorrow", "job requeued in held state"])
def test_what_has_no_sentence_is_given_as_it_is(reason: str) -> None:
    assert explain_reason(reason) == reason
