"""Programs that some tests need and that no wheel provides."""

import os
import shutil
from typing import NoReturn

import pytest

FAIL_ON_SKIP = "KINGPOST_TESTS_FAIL_ON_SKIP"
"""The environment variable with which a missing program fails its tests instead of skipping them."""
# Debian keeps servers in /usr/sbin, which need not be on the PATH.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def need(program: str, install: str) -> str:
    """Return the path of a program. Without it skip the test, and name the command that installs it."""
    return shutil.which(program, path=PATH) or skip(f"{program} is not installed: {install}")


def skip(reason: str) -> NoReturn:
    """Skip the test, or fail it where no test may be skipped."""
    if os.environ.get(FAIL_ON_SKIP):
        pytest.fail(f"{reason} ({FAIL_ON_SKIP} is set)")
    pytest.skip(reason)
