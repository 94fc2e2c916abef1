"""The example with the movies, as its README has it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import Serve

LOADER = Path(__file__).parents[2] / "examples" / "movies" / "load_movies.py"


@pytest.mark.skipif(
    shutil.which("npm") is None and not LOADER.with_name("movies.json").exists(),
    reason="the movies come from an npm package, and there is no npm",
)
def test_what_comes_out_equals_what_went_in(serve: Serve, database: str) -> None:
    server = serve(DATABASE_URL=database)
    done = subprocess.run([sys.executable, LOADER, "--url", server.url], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Created 3,201 movies" in done.stdout
    assert done.stdout.endswith("What came out equals what went in.\n")
