"""How a job divides the CPUs that are free: it needs no Ray, and is tested without."""

import os

MOST = 4  # env runners; more of them than CPUs of a real machine make nothing faster


def many(number, noun):
    """A number of things in words: 1 CPU, 2 CPUs."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def runners(cpus, beside, wanted=None):
    """How many env runners, of one CPU each, fit into so many CPUs when `beside` CPUs go to something else.

    0 is an answer, too: the program's own process, which counts for no CPU, plays the episodes then. `wanted` is what
    the user asked for; more than there is room for is an error, never a wait.
    """
    if cpus < beside:
        raise SystemExit(f"this job needs {many(beside, 'CPU')}, and the cluster has {cpus} free: "
                         "end other jobs, or add hosts to the cluster")
    room = cpus - beside
    if wanted is None:
        return min(MOST, room)
    if wanted > room:
        raise SystemExit(f"WORKERS={wanted} needs {many(wanted + beside, 'CPU')}, and the cluster has {cpus} free: "
                         f"WORKERS may be from 0 to {room}")
    return wanted


def offline(cpus, wanted=None):
    """For learning from files: how many CPUs prepare batches, and how many env runners evaluate.

    One CPU more reads the files.
    """
    prepare = 2 if cpus >= 4 else 1
    return prepare, runners(cpus, 1 + prepare, wanted)


def number(name, default=None, least=0):
    """The environment variable as a whole number that is not below `least`."""
    value = os.environ.get(name, "")
    if not value:
        return default
    try:
        if int(value) >= least:
            return int(value)
    except ValueError:
        pass
    raise SystemExit(f"{name}={value}: want a whole number from {least} on")
