"""The machine: which cores do what, what a process takes of its memory, and what to tell readers about it."""

import os
import platform
import resource
import sysconfig
from pathlib import Path

type Cores = frozenset[int]


def share_out(workers: int) -> tuple[Cores, Cores]:
    """The cores of the server, and those of wrk and PostgreSQL: apart where there are two or more."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return frozenset(cores), frozenset(cores)
    split = min(workers, len(cores) - 1)
    return frozenset(cores[:split]), frozenset(cores[split:])


def use_all_descriptors() -> None:
    """Let this process and its children open as many sockets as the system grants."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def memory(pid: int) -> tuple[int, int]:
    """RSS and PSS, in MiB, of the largest among a process and its descendants: a worker, if there are several."""
    sizes = [_size(found) for found in _family(pid)]
    return max(sizes, key=lambda size: size[1])


def processor_seconds(pid: int) -> float:
    """How long a process and its descendants have been running on a processor, in user and system mode."""
    ticks = 0
    for member in _family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, str]:
    """What a reader needs to know to compare."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    pgo, lto = "--enable-optimizations" in options, "--with-lto" in options
    build = " and ".join(name for name, used in (("PGO", pgo), ("LTO", lto)) if used)
    return {
        "Processor": f"{len(os.sched_getaffinity(0))} cores, {_processor()}",
        "System": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}, built {f'with {build}' if build else 'without PGO and LTO'}",
    }


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *[member for child in children for member in _family(int(child))]]


def _size(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return round(kib["Rss"] / 1024), round(kib["Pss"] / 1024)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
