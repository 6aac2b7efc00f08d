"""Chaos: a sweep of small real trainings on a private real SLURM while everything goes wrong.

    python -m tests.chaos --minutes 30 --seed 7    # or: make chaos

Faults happen at random, and a person calls `launcher resume` now and then, and nothing else. In
the end a judge reads what is there: every run finished exactly once, with the metrics and weights
of an undisturbed run to the bit, and the records say what happened.

The seed decides which faults come, in which order, how far apart and with which choices. Whom they
hit also depends on what runs at that moment, so the same seed is the same storm, but not the same
film.
"""
