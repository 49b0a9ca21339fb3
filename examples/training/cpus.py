"""How a job divides the CPUs that are free: it needs no Ray, and is tested without."""

import os

MOST = 4  # env runners; more of them than CPUs of a real machine make nothing faster


def runners(cpus, beside, wanted=None):
    """How many env runners, of one CPU each, fit into so many CPUs when `beside` CPUs go to something else.

    0 is an answer, too: the program's own process, which counts for no CPU, plays the episodes then. `wanted` is what
    the user asked for; more than there is room for is an error, never a wait.
    """
    if cpus < beside:
        raise SystemExit(f"this job needs {beside} CPUs and {cpus} are free: "
                         "end other jobs, or add hosts to the cluster")
    room = cpus - beside
    if wanted is None:
        return min(MOST, room)
    if wanted < 0 or wanted > room:
        raise SystemExit(f"WORKERS={wanted} needs {max(wanted, 0) + beside} CPUs and {cpus} are free: "
                         f"WORKERS may be from 0 to {room}")
    return wanted


def offline(cpus, wanted=None):
    """Learning from files: how many CPUs prepare batches, and how many env runners evaluate. One more reads the files."""
    prepare = 2 if cpus >= 4 else 1
    return prepare, runners(cpus, 1 + prepare, wanted)


def number(name, default=None):
    """The environment variable as a number."""
    value = os.environ.get(name, "")
    if not value:
        return default
    try:
        return int(value)
    except ValueError:
        raise SystemExit(f"{name}={value} is not a whole number") from None
