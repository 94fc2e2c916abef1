#!/usr/bin/env python3
"""Run all development commands. Requires only Python 3.13 or newer.

    python3 dev.py serve [ARGS]      run the server; ARGS are passed to `kingpost serve`
    python3 dev.py test [ARGS]       run all checks and tests; ARGS are passed to pytest (without coverage then)
    python3 dev.py unit [ARGS]       run the unit tests, in less than half a minute
    python3 dev.py api [ARGS]        run the API tests on SQLite, except the slow ones
    python3 dev.py example movies    load 3,201 movies through the API of a running server
    python3 dev.py lock [ARGS]       update the pinned requirements; ARGS are passed to uv (--upgrade, …)
    python3 dev.py TOOL [ARGS]       run any command of the environment: kingpost, ruff, mypy, pytest, …

The environment is `.venv`. It is created on first use from requirements that are pinned with hashes, and updated when
the pins change.
"""

import sys

if sys.version_info < (3, 13):  # noqa: UP036 - an older Python may run this file
    sys.exit(f"Kingpost needs Python 3.13 or newer; this is Python {sys.version_info[0]}.{sys.version_info[1]}.")

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "installed.json"

PROJECT = "pyproject.toml"
RUNTIME = ("requirements.txt",)
EXAMPLES = (*RUNTIME, "examples/movies/requirements.txt")
DEV = (*EXAMPLES, "requirements-dev.txt")
# An environment belongs to one interpreter and one directory. A copied project or a newer Python gets a new one.
INTERPRETER = f"{sys.version} for {ROOT}"

PYTHON_CODE = [name for name in ("src", "tests", "bench", "examples", "tools", "dev.py") if (ROOT / name).exists()]
# Use at least three workers: the tests spend most of their time waiting for processes, locks and hashes.
WORKERS = ["-n", str(max(3, os.cpu_count() or 1)), "--dist", "worksteal"]
CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy", *PYTHON_CODE],
    "architecture": ["lint-imports", "--no-logo"],
}


def prepare(*requirements: str) -> None:
    """Install the project and all `requirements` in the environment, unless their current versions are installed."""
    current = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in (PROJECT, *DEV)}
    required = {"interpreter": INTERPRETER, **{name: current[name] for name in (PROJECT, *requirements)}}
    if required.items() <= installed().items():
        return
    with Path(__file__).open() as lock:  # A concurrent run waits here, and then finds everything installed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = installed()
        if required.items() <= found.items():
            return
        print("Updating .venv, which takes up to a minute …", file=sys.stderr, flush=True)
        if found.get("interpreter") != INTERPRETER:  # missing, incomplete, moved, or of another Python
            run_or_exit([sys.executable, "-m", "venv", "--clear", str(VENV)], "Python could not create .venv")
        STAMP.unlink(missing_ok=True)  # Without the stamp, the environment counts as incomplete.
        pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        files = [part for name in requirements for part in ("-r", name)]
        run_or_exit([*pip, "--require-hashes", "--no-deps", *files], "pip could not install the requirements")
        project = ["--no-index", "--no-deps", "--no-build-isolation", "--editable", "."]
        run_or_exit([*pip, *project], "pip could not install the project")
        STAMP.write_text(json.dumps(dict(found.items() & current.items()) | required, indent=1))


def installed() -> dict[str, str]:
    """Return the stamp of the environment: the installed state. It is empty if there is no complete environment."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def run_or_exit(command: list[str], error: str) -> None:
    if subprocess.call(command, cwd=ROOT):
        sys.exit(f"{error}. See its output above.")


def execute(program: str, *arguments: str) -> None:
    """Replace this process by a program of the environment, in the current directory."""
    path = BIN / program
    if not path.exists():
        sys.exit(f"Unknown command {program!r}. `python3 dev.py` lists the commands.")
    os.execv(path, [str(path), *arguments])


def test(arguments: list[str]) -> int:
    """Run all checks and all tests, even if some of them fail. Return 0 if none failed."""
    results = {name: step(name, command) for name, command in CHECKS.items()}
    results["vulnerabilities"] = audit()
    all_tests = [*WORKERS, "--cov", "--cov-report=term"]
    results["tests"] = step("tests", ["python", "-m", "pytest", *(arguments or all_tests)])
    print("\n" + "   ".join(f"{name}: {result}" for name, result in results.items()))
    return int("FAILED" in results.values())


def step(name: str, command: list[str]) -> str:
    print(f"\n━━━ {name}: {' '.join(command)}", flush=True)
    return "FAILED" if subprocess.call([BIN / command[0], *command[1:]], cwd=ROOT) else "ok"


def audit() -> str:
    """Look up all pins in the advisory database. Fail for known vulnerabilities; skip if it is unreachable."""
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    print("\n━━━ vulnerabilities: pip-audit -r requirements-dev.txt", flush=True)
    command = [str(BIN / "pip-audit"), "-r", "requirements-dev.txt", *options]
    try:
        finished = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
        packages = json.loads(finished.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        packages = []
    checked = [package for package in packages if "vulns" in package]
    if not checked:
        print("skipped: the advisory database is unreachable or has no data about these packages")
        return "skipped"
    for package in checked:
        for fault in package["vulns"]:
            print(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fault['fix_versions']}")
    print(f"{len(checked)} of {len(packages)} packages checked")
    return "FAILED" if any(package["vulns"] for package in checked) else "ok"


def lock(arguments: list[str]) -> None:
    """Update the pins. Existing pins do not change unless `arguments` contain --upgrade."""
    uv = shutil.which("uv") or sys.exit("Updating the pins requires uv on the PATH: install the package `uv` with pip.")
    options = ["--universal", "--generate-hashes", "--quiet", "--custom-compile-command", "python3 dev.py lock"]
    sources = {
        "requirements.txt": [PROJECT, "--group", "build"],
        "requirements-dev.txt": [PROJECT, "--group", "dev", "--constraint", "requirements.txt"],
        "examples/movies/requirements.txt": ["--group", "examples", "--constraint", "requirements-dev.txt"],
    }
    for target, source in sources.items():
        command = [uv, "pip", "compile", *source, *options, *arguments, "--output-file", target]
        run_or_exit(command, f"uv could not write {target}")


def main(command: str = "help", *arguments: str) -> int:
    if command in ("help", "--help", "-h"):
        print(__doc__)
    elif command == "serve":
        prepare(*RUNTIME)
        execute("kingpost", "serve", *arguments)
    elif command == "kingpost":
        prepare(*RUNTIME)
        execute("kingpost", *arguments)
    elif command == "example" and arguments[:1] == ("movies",):
        prepare(*EXAMPLES)
        execute("python", str(ROOT / "examples/movies/load_movies.py"), *arguments[1:])
    elif command == "test":
        prepare(*DEV)
        return test(list(arguments))
    elif command in ("unit", "api"):
        prepare(*DEV)
        os.chdir(ROOT)
        tests = {"unit": ["tests/unit"], "api": [*WORKERS, "tests/api", "-m", "not postgresql and not slow"]}
        execute("python", "-m", "pytest", *tests[command], *arguments)
    elif command == "lock":
        lock(list(arguments))
    else:
        prepare(*DEV)
        execute(command, *arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
