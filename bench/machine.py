"""Functions for the machine: assign cores, measure memory and processor time, and describe the machine."""

import os
import platform
import resource
import sysconfig
from pathlib import Path

type Cores = frozenset[int]


def share_out(workers: int) -> tuple[Cores, Cores]:
    """Return the cores of the server, and those of wrk and PostgreSQL. They overlap only if there is one core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return frozenset(cores), frozenset(cores)
    split = min(workers, len(cores) - 1)
    return frozenset(cores[:split]), frozenset(cores[split:])


def use_all_descriptors() -> None:
    """Raise the limit of open sockets of this process and its children to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def memory(pid: int) -> tuple[int, int]:
    """Return the RSS and PSS, in MiB, of the largest process among a process and its descendants.

    With several workers, the largest process is a worker.
    """
    sizes = [_size(each) for each in _family(pid)]
    return max(sizes, key=lambda size: size[1])


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its descendants, in user and system mode."""
    ticks = 0
    for each in _family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, str]:
    """Return the properties of the machine that readers need to compare results."""
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
    return [pid, *[each for child in children for each in _family(int(child))]]


def _size(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return round(kib["Rss"] / 1024), round(kib["Pss"] / 1024)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
