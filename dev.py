#!/usr/bin/env python3
"""One door to everything. Needs Python 3.13 or newer and nothing else.

    python3 dev.py serve [ARGS]      run Kingpost; ARGS go to `kingpost serve`
    python3 dev.py test [ARGS]       every check, then every test; ARGS go to pytest (then without coverage)
    python3 dev.py unit [ARGS]       the quick inner loop: unit tests, in less than half a minute
    python3 dev.py api [ARGS]        tests of the API on SQLite, without those that take many seconds
    python3 dev.py example movies    load 3,201 movies through the API of a running server
    python3 dev.py lock [ARGS]       write the pinned requirements anew; ARGS go to uv (--upgrade, …)
    python3 dev.py TOOL [ARGS]       any command of the environment: kingpost, ruff, mypy, pytest, …

The environment is `.venv`, made on first use from hash-checked pins and brought up to date when they change.
"""

import sys

if sys.version_info < (3, 13):  # noqa: UP036 - this file is what an older Python meets first
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
# An environment serves one interpreter in one place; a copy or a newer Python gets its own.
INTERPRETER = f"{sys.version} for {ROOT}"

PYTHON_CODE = [name for name in ("src", "tests", "bench", "examples", "tools", "dev.py") if (ROOT / name).exists()]
# The suite waits more than it computes: for processes that start, locks, hashes.
WORKERS = ["-n", str(max(3, os.cpu_count() or 1)), "--dist", "worksteal"]
CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy", *PYTHON_CODE],
    "architecture": ["lint-imports", "--no-logo"],
}


def prepare(*requirements: str) -> None:
    """Have an environment in which the project and all of `requirements` are installed as they stand now."""
    current = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in (PROJECT, *DEV)}
    wanted = {"interpreter": INTERPRETER, **{name: current[name] for name in (PROJECT, *requirements)}}
    if wanted.items() <= installed().items():
        return
    with Path(__file__).open() as lock:  # a second run waits here, then finds the work done
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = installed()
        if wanted.items() <= found.items():
            return
        print("Preparing .venv (a minute at most; only when something has changed) …", file=sys.stderr, flush=True)
        if found.get("interpreter") != INTERPRETER:  # missing, half-made, moved, or of another Python
            run_or_exit([sys.executable, "-m", "venv", "--clear", str(VENV)], "Python could not make .venv")
        STAMP.unlink(missing_ok=True)  # until it is back, the environment counts as half-made
        pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        files = [part for name in requirements for part in ("-r", name)]
        run_or_exit([*pip, "--require-hashes", "--no-deps", *files], "pip could not install the requirements")
        itself = ["--no-index", "--no-deps", "--no-build-isolation", "--editable", "."]
        run_or_exit([*pip, *itself], "pip could not install the project itself")
        STAMP.write_text(json.dumps(dict(found.items() & current.items()) | wanted, indent=1))


def installed() -> dict[str, str]:
    """What the environment was last brought to; nothing when it is missing or half-made."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def run_or_exit(command: list[str], complaint: str) -> None:
    if subprocess.call(command, cwd=ROOT):
        sys.exit(f"{complaint}; its own words stand above.")


def become(program: str, *arguments: str) -> None:
    """Go on as a program of the environment, in the caller's directory."""
    path = BIN / program
    if not path.exists():
        sys.exit(f"There is no command {program!r}; `python3 dev.py` lists what there is.")
    os.execv(path, [str(path), *arguments])


def test(arguments: list[str]) -> int:
    """Run every check and every test, whatever fails on the way; 0 when nothing did."""
    results = {name: step(name, command) for name, command in CHECKS.items()}
    results["vulnerabilities"] = audit()
    everything = [*WORKERS, "--cov", "--cov-report=term"]
    results["tests"] = step("tests", ["python", "-m", "pytest", *(arguments or everything)])
    print("\n" + "   ".join(f"{name}: {result}" for name, result in results.items()))
    return int("FAILED" in results.values())


def step(name: str, command: list[str]) -> str:
    print(f"\n━━━ {name}: {' '.join(command)}", flush=True)
    return "FAILED" if subprocess.call([BIN / command[0], *command[1:]], cwd=ROOT) else "ok"


def audit() -> str:
    """Ask the advisory service about every pin. It may be out of reach; a vulnerability that it knows fails."""
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
        print("skipped: the advisory service is out of reach, or tells nothing about these packages")
        return "skipped"
    for package in checked:
        for fault in package["vulns"]:
            print(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fault['fix_versions']}")
    print(f"{len(checked)} of {len(packages)} packages checked")
    return "FAILED" if any(package["vulns"] for package in checked) else "ok"


def lock(arguments: list[str]) -> None:
    """Write the pins anew. What is pinned stays as it is unless `arguments` ask for --upgrade."""
    uv = shutil.which("uv") or sys.exit("Remaking the pins needs uv on the PATH: install the package `uv` with pip.")
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
        become("kingpost", "serve", *arguments)
    elif command == "kingpost":
        prepare(*RUNTIME)
        become("kingpost", *arguments)
    elif command == "example" and arguments[:1] == ("movies",):
        prepare(*EXAMPLES)
        become("python", str(ROOT / "examples/movies/load_movies.py"), *arguments[1:])
    elif command == "test":
        prepare(*DEV)
        return test(list(arguments))
    elif command in ("unit", "api"):
        prepare(*DEV)
        os.chdir(ROOT)
        chosen = {"unit": ["tests/unit"], "api": [*WORKERS, "tests/api", "-m", "not postgresql and not slow"]}
        become("python", "-m", "pytest", *chosen[command], *arguments)
    elif command == "lock":
        lock(list(arguments))
    else:
        prepare(*DEV)
        become(command, *arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
