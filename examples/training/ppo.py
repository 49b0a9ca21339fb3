"""PPO on a corridor, for Ray 2.41 and later (gymnasium, `ray[tune,rllib]` and torch).

What changed since 0.8.6: gymnasium's reset and step, the config object in place of a dict, Tuner in place of tune.run,
env runners in place of workers, and torch as the only framework of the new API stack. In the corridor of 2020 each
episode had the return 1; here a step costs 0.1, so that there is something to learn: the shortest way has 0.6.
"""

import os
import sys

import gymnasium as gym
import numpy as np
import ray
from gymnasium.spaces import Box, Discrete
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import cpus
import place

RESULTS = os.environ.get("RESULTS", "/shared/ray_results")
GOAL = 0.55
RETURN = "env_runners/episode_return_mean"


class SimpleCorridor(gym.Env):
    """Walk right until the corridor's end."""

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
        return self.observe(), 1.0 if terminated else -0.1, terminated, False, {}


class Lines(tune.Callback):
    """A line for each iteration."""

    def __init__(self):
        self.returns = []

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.returns.append(result["env_runners"]["episode_return_mean"])
        print(f"iteration {result['training_iteration']}: mean return {self.returns[-1]:.2f}", flush=True)


def main():
    ray.init(log_to_driver=False)  # RAY_ADDRESS says where
    place.seen_by_all(RESULTS)
    runners = cpus.runners(place.free_cpus(), 1, cpus.number("WORKERS"))
    print(f"{cpus.many(runners, 'env runner')}, and 1 CPU for the trial itself", flush=True)
    config = (
        PPOConfig()
        .environment(SimpleCorridor, env_config={"corridor_length": 5})
        .env_runners(num_env_runners=runners)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64]))
        .training(lr=3e-3, num_epochs=8, minibatch_size=256, train_batch_size_per_learner=1024)
    )
    lines = Lines()
    results = tune.Tuner(
        config.algo_class,  # its name, "PPO", has Ray 2.60 import all algorithms, and one of them wants Pillow
        param_space=config,
        run_config=tune.RunConfig(
            name="corridor",
            stop={RETURN: GOAL, "training_iteration": cpus.number("ITERATIONS", 40, least=1)},
            storage_path=RESULTS,
            callbacks=[lines],
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    ).fit()
    if results.errors:
        sys.exit(f"the trial failed: {results.errors[0]}")
    print(f"saved {results[0].checkpoint.path}")
    if not lines.returns[-1] >= GOAL:  # it may be no number: nan, where no episode has ended
        sys.exit(f"the mean return went from {lines.returns[0]:.2f} to {lines.returns[-1]:.2f}, not to {GOAL}: "
                 "try more ITERATIONS")


if __name__ == "__main__":
    main()
