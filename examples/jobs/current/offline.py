"""Learn from recorded episodes, for Ray 2.41 and later: what `rllib train --run=DQN` with "input" was in 0.8.6.

DQN reads no files on the new API stack; MARWIL does, and learns more from the better episodes. record.py makes the record.
"""

import os
import pathlib

import ray
from ray.rllib.algorithms.marwil import MARWILConfig

OUT = os.environ.get("OUT", "/shared/cartpole-out")


def files(root):
    """The recorded files; each env runner wrote into a directory of its own."""
    found = sorted(str(p) for p in pathlib.Path(root).rglob("*.parquet"))
    if not found:
        raise SystemExit("no record in %s: run record.py first, with %s on a volume that all nodes mount" % (root, root))
    return found


if __name__ == "__main__":
    ray.init()
    config = (
        MARWILConfig()
        .environment("CartPole-v1")
        .offline_data(input_=files(OUT), input_read_episodes=True, dataset_num_iters_per_learner=1)
        .training(beta=1.0, train_batch_size_per_learner=1024)
        .evaluation(evaluation_interval=5, evaluation_num_env_runners=1, evaluation_duration=5, evaluation_config={"explore": False})
    )
    algo = config.build_algo()
    for i in range(int(os.environ.get("ITERATIONS", "20"))):
        results = algo.train()
        evaluated = results.get("evaluation", {}).get("env_runners", {}).get("episode_return_mean")
        print("iteration %d%s" % (i + 1, "" if evaluated is None else ": mean return %.1f" % evaluated))
    algo.stop()
