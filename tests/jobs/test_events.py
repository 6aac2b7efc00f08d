from __future__ import annotations

from typing import Any

import pytest

from jobs.events import ends, explain, is_cancelled, released_unix_s


def events(*words: str) -> list[dict[str, Any]]:
    """One a second; `cancelled:a` has the token a."""
    found = []
    for second, word in enumerate(words, start=1):
        event, _, token = word.partition(":")
        found.append({"event": event, "time_unix_s": float(second), "token": token or None})
    return found


@pytest.mark.parametrize(
    ("words", "cancelled"),
    [
        ([], False),
        (["cancelled"], True),
        (["cancelled", "released"], False),
        (["cancelled", "released", "cancelled"], True),
        (["cancelled:a", "released", "cancelled:a"], False),
        (["cancelled:a", "released", "cancelled:b"], True),
    ],
)
def test_a_job_that_slurm_cancelled_counts_once_and_a_persons_word_each_time(words, cancelled):
    assert is_cancelled(events(*words)) == cancelled


def test_the_last_release_counts_and_none_is_long_ago():
    assert released_unix_s(events("cancelled", "released", "cancelled", "released")) == 4
    assert released_unix_s(events("cancelled")) == 0


def test_ends_are_in_their_order():
    assert [event["token"] for event in ends(events("ended:a", "released", "ended:b"))] == [
        *("a", "b"),
    ]


def test_the_ends_of_one_submission_are_those_with_its_token():
    found = ends(events("ended:a", "ended:b", "released:a", "ended:a"), "a")
    assert [event["time_unix_s"] for event in found] == [1, 4]


def test_of_several_explanations_of_a_killed_attempt_the_last_counts():
    attempts: list[Any] = [{"attempt": 1, "node": "n1"}, {"attempt": 2, "cause": "stopped"}]
    why = {"event": "explained", "message": "", "nodes": ""}
    explain(attempts, [{**why, "attempt": 1, "cause": "unknown"}])
    assert attempts[0] == {"attempt": 1, "node": "n1", "cause": "unknown", "message": ""}
    attempts[0] = {"attempt": 1}
    late = {"cause": "node_failure", "nodes": "n2", "ended_unix_s": 7.0}
    explain(attempts, [{**why, "attempt": n, "cause": "unknown", **late} for n in (1, 2)])
    assert attempts[0]["cause"] == "node_failure"
    assert (attempts[0]["node"], attempts[0]["ended_unix_s"]) == ("n2", 7.0)
    assert attempts[1] == {"attempt": 2, "cause": "stopped"}
