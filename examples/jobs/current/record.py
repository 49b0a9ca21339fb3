"""Record episodes of CartPole while PPO learns, for Ray 2.41 and later: what `rllib train --run=PG` with "output" was in 0.8.6.

PG left RLlib in 2024; PPO is the nearest that is there. Episodes are Parquet files now, on a volume that all nodes mount.
"""

import os

import ray
from ray.rllib.algorithms.ppo import PPOConfig

OUT = os.environ.get("OUT", "/shared/cartpole-out")

if __name__ == "__main__":
    ray.init()
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=int(os.environ.get("WORKERS", "2")), batch_mode="complete_episodes")
        .offline_data(output=OUT, output_write_episodes=True)
    )
    algo = config.build_algo()
    for i in range(int(os.environ.get("ITERATIONS", "25"))):
        results = algo.train()
        print("iteration %d: mean return %.1f" % (i + 1, results["env_runners"]["episode_return_mean"]))
    algo.stop()  # writes what is still in the env runners' buffers
