"""PPO on a corridor, for Ray 2.41 and later (gymnasium, `ray[tune,rllib]` and torch).

What changed since 0.8.6: gymnasium's reset and step, the config object in place of a dict, Tuner in place of tune.run, env runners
in place of workers, and torch as the only framework of the new API stack.
"""

import os

import gymnasium as gym
import numpy as np
import ray
from gymnasium.spaces import Box, Discrete
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig


class SimpleCorridor(gym.Env):
    def __init__(self, config=None):
        self.end = (config or {}).get("corridor_length", 5)
        self.position = 0
        self.action_space = Discrete(2)
        self.observation_space = Box(0.0, self.end, shape=(1,), dtype=np.float32)

    def observe(self):
        return np.array([self.position], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return self.observe(), {}

    def step(self, action):
        self.position = max(0, self.position + (1 if action == 1 else -1))
        terminated = self.position >= self.end
        return self.observe(), float(terminated), terminated, False, {}


if __name__ == "__main__":
    ray.init()  # RAY_ADDRESS says where
    config = (
        PPOConfig()
        .environment(SimpleCorridor, env_config={"corridor_length": 5})
        .env_runners(num_env_runners=int(os.environ.get("WORKERS", "4")))
    )
    tune.Tuner(
        "PPO",
        param_space=config,
        run_config=tune.RunConfig(
            stop={"training_iteration": int(os.environ.get("ITERATIONS", "20"))},
            # Each node has its own /tmp: results have to lie on a volume that all nodes mount.
            storage_path=os.environ.get("RESULTS", "/shared/ray_results"),
        ),
    ).fit()
