"""Reads the episodes that record.py has recorded: `python episodes.py DIR` counts them."""

import collections
import pathlib
import sys

import msgpack
import msgpack_numpy
import pyarrow.parquet


def files(root):
    """The recorded files; each env runner has written into directories of its own."""
    found = sorted(str(p) for p in pathlib.Path(root).rglob("*.parquet"))
    if not found:
        raise SystemExit(f"no record in {root}: run record.py first, with {root} on a volume that all nodes mount")
    return found


def read(paths):
    """Each recorded episode as (id, steps, return)."""
    for path in paths:
        for packed in pyarrow.parquet.read_table(path, columns=["item"]).column("item"):
            state = msgpack.unpackb(packed.as_py(), object_hook=msgpack_numpy.decode, strict_map_key=False)
            rewards = state["rewards"]
            rewards = rewards.get("data", rewards) if isinstance(rewards, dict) else rewards
            yield state["id_"], len(rewards), float(sum(rewards))


def summary(root):
    """What lies under root, as a dict; an episode that is there twice is counted in `twice`."""
    paths = files(root)
    found = list(read(paths))
    returns = sorted(r for _, _, r in found)
    ids = collections.Counter(i for i, _, _ in found)
    return {"files": len(paths), "episodes": len(found), "twice": len(found) - len(ids),
            "steps": sum(s for _, s, _ in found),
            "least": returns[0], "median": returns[len(returns) // 2], "most": returns[-1]}


def line(root):
    s = summary(root)
    return (f"{s['episodes']} episodes ({s['twice']} of them twice), {s['steps']} steps, "
            f"in {s['files']} files under {root}; "
            f"returns from {s['least']:.0f} to {s['most']:.0f}, median {s['median']:.0f}")


if __name__ == "__main__":
    print(line(sys.argv[1]))
