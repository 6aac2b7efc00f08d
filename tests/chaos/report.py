"""What a person needs to see when the judge complains."""

from __future__ import annotations

from tests.chaos.lab import Lab
from tests.chaos.storm import Log

LAST_LINES = 60


def report_failure(lab: Lab, log: Log, complaints: list[str]) -> None:
    """The complaints, the last faults, the attempts of the runs concerned, and SLURM's log."""
    print("\n".join(["", "COMPLAINTS", *complaints]))
    print("\n".join(["", "WHAT HAPPENED LAST", *log.lines[-LAST_LINES:]]))
    for run in lab.runs():
        if (
            not complaints
            or any(run.run_id in text for text in complaints)
            or not run.read_result()
        ):
            print(f"\nATTEMPTS OF {run.sweep.name}/{run.run_id}")
            for attempt in run.attempts():
                shown = (
                    "attempt",
                    "job_id",
                    "restart",
                    "pid",
                    "started_unix_s",
                    "ended_unix_s",
                    "first_step",
                    "last_step",
                    "cause",
                    "message",
                )
                print("  ", {key: attempt[key] for key in shown if key in attempt})
            for event in run.observed():
                print("  ", event)
            _show_controller(lab, {attempt["job_id"] for attempt in run.attempts()})


def _show_controller(lab: Lab, job_ids: set[str]) -> None:
    lines = (
        (lab.cluster.directory / "log" / "slurmctld.log").read_text(errors="replace").splitlines()
    )
    ours = [
        line
        for line in lines
        if any(f"JobId={job_id}(" in line or f"JobId={job_id} " in line for job_id in job_ids)
    ]
    print("\n".join(f"   {line}" for line in ours[-LAST_LINES:]))
