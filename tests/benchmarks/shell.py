"""The environment in which a person types a command."""

from __future__ import annotations

import os

# Set where programs are built and tested. Without bytecode, every start compiles all of ours anew.
NOT_A_PERSONS = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")


def persons_environment(**changes: str) -> dict[str, str]:
    """This process's environment, without what machines have set for programs to be built."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_A_PERSONS}
    return kept | changes
