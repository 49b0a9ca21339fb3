"""PPO on a corridor, for Ray 0.8.6 (gym 0.17, `ray[tune,rllib]==0.8.6`, TensorFlow 2.1 or 2.2).

The environment is that of Ray's own example rllib/examples/custom_env.py: walk right until the corridor's end.
"""

import os

import gym
import ray
from gym.spaces import Box, Discrete
from ray import tune


class SimpleCorridor(gym.Env):
    def __init__(self, config):
        self.end = config["corridor_length"]
        self.position = 0
        self.action_space = Discrete(2)
        self.observation_space = Box(0.0, self.end, shape=(1,))

    def reset(self):
        self.position = 0
        return [self.position]

    def step(self, action):
        self.position = max(0, self.position + (1 if action == 1 else -1))
        done = self.position >= self.end
        return [self.position], 1 if done else 0, done, {}


if __name__ == "__main__":
    # 0.8.6 takes the address from RAY_ADDRESS, and refuses one that is also given here.
    ray.init()
    tune.run(
        "PPO",
        stop={"training_iteration": int(os.environ.get("ITERATIONS", "20"))},
        # Each node has its own /tmp: results have to lie on a volume that all nodes mount.
        local_dir=os.environ.get("RESULTS", "/shared/ray_results"),
        config={"env": SimpleCorridor, "env_config": {"corridor_length": 5}, "num_workers": int(os.environ.get("WORKERS", "4"))},
    )
