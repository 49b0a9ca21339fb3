"""Learns from recorded episodes, for Ray 2.41 and later: what `rllib train --run=DQN` with "input" was in 0.8.6.

DQN reads no files on the new API stack; MARWIL does, and learns more from the better episodes. record.py makes the record.
One CPU reads files, one or two prepare batches of them, and what is left plays the episodes that show what was learned.
"""

import os
import sys

import ray
import torch
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import cpus
import episodes
import place

OUT = os.environ.get("OUT", "/shared/cartpole-out")
MODEL = os.environ.get("MODEL", "/shared/cartpole-model")
GOAL = cpus.number("GOAL", 100)
BATCH = 2000


def main():
    torch.set_num_threads(1)  # for networks this small more threads do nothing but wait for each other
    ray.init(log_to_driver=False)  # RAY_ADDRESS says where
    record = episodes.files(OUT)
    found = episodes.summary(OUT)
    place.seen_by_all(OUT)
    place.seen_by_all(MODEL)
    prepare, runners = cpus.offline(place.free_cpus(), cpus.number("WORKERS"))
    print(f"{prepare} CPUs prepare batches, 1 reads, {runners} env runners evaluate", flush=True)
    algo = (
        MARWILConfig()
        .environment("CartPole-v1")
        .offline_data(
            input_=record,
            input_read_episodes=True,
            # So many episodes make a batch: about as many as have BATCH steps. Without it one batch is made of all of them.
            input_read_batch_size=max(1, round(BATCH * found["episodes"] / found["steps"])),
            map_batches_kwargs={"concurrency": prepare},
            dataset_num_iters_per_learner=50,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64]))
        .training(beta=1.0, lr=1e-3, train_batch_size_per_learner=BATCH)
        .evaluation(evaluation_num_env_runners=runners, evaluation_duration=20, evaluation_config={"explore": False})
        .build_algo()
    )

    def evaluate():
        return algo.evaluate()["env_runners"]["episode_return_mean"]

    returns = [evaluate()]
    print(f"before: mean return {returns[0]:.1f}", flush=True)
    for i in range(cpus.number("ITERATIONS", 20)):
        algo.train()
        returns.append(evaluate())
        print(f"iteration {i + 1}: mean return {returns[-1]:.1f}", flush=True)
        if returns[-1] >= GOAL:
            break
    print("saved " + algo.save_to_path(MODEL))
    algo.stop()
    if returns[-1] < GOAL:
        sys.exit(f"the mean return went from {returns[0]:.1f} to {returns[-1]:.1f}, not to {GOAL}: try more ITERATIONS")


if __name__ == "__main__":
    main()
