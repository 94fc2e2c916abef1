"""The example with the movies, as its README has it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import need
from tests.system.conftest import Serve

LOADER = Path(__file__).parents[2] / "examples" / "movies" / "load_movies.py"


@pytest.mark.timeout(600)
def test_the_exported_movies_equal_the_imported_movies(serve: Serve, database: str) -> None:
    if not LOADER.with_name("movies.json").exists():
        need("npm", "the movies come from an npm package; apt install npm")
    server = serve(DATABASE_URL=database)
    done = subprocess.run([sys.executable, LOADER, "--url", server.url], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Created 3,201 movies" in done.stdout
    assert done.stdout.endswith("The movies read are equal to the movies sent.\n")
