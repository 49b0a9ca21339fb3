"""Learns from recorded episodes, for Ray 2.41 and later: what `rllib train --run=DQN` with "input" was in 0.8.6.

DQN reads no files on the new API stack; MARWIL does, and learns more from the better episodes. record.py makes the
record. One CPU reads files, one or two prepare batches of them, and what is left plays the episodes that show what was
learned.
"""

import gc
import logging
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
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    torch.set_num_threads(1)  # for networks this small more threads do nothing but wait for each other
    ray.init(log_to_driver=False)  # RAY_ADDRESS says where
    record = episodes.files(OUT)
    found = episodes.summary(OUT)
    place.seen_by_all(OUT)
    place.seen_by_all(MODEL)
    prepare, runners = cpus.offline(place.free_cpus(), cpus.number("WORKERS"))
    print(f"{cpus.many(prepare, 'CPU')} for batches, 1 for reading, "
          f"{cpus.many(runners, 'env runner')} for evaluation", flush=True)
    algo = (
        MARWILConfig()
        .environment("CartPole-v1")
        .offline_data(
            input_=record,
            input_read_episodes=True,
            # So many episodes make a batch: about as many as have BATCH steps. Without it one batch is made of all of
            # them.
            input_read_batch_size=max(1, round(BATCH * found["episodes"] / found["steps"])),
            map_batches_kwargs={"concurrency": prepare},
            # The batches are made once and kept. Else each iteration starts processes that make them again, of the
            # same values.
            materialize_mapped_data=True,
            dataset_num_iters_per_learner=20,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64]))
        .training(beta=1.0, lr=1e-3, train_batch_size_per_learner=BATCH)
        .evaluation(
            evaluation_interval=1,
            evaluation_num_env_runners=runners,
            evaluation_duration=20,
            evaluation_config={"explore": False},
        )
        .build_algo()
    )
    returns = [algo.evaluate()["env_runners"]["episode_return_mean"]]
    print(f"before: mean return {returns[0]:.1f}", flush=True)
    for i in range(cpus.number("ITERATIONS", 30, least=1)):
        returns.append(algo.train()["evaluation"]["env_runners"]["episode_return_mean"])
        print(f"iteration {i + 1}: mean return {returns[-1]:.1f}", flush=True)
        if returns[-1] >= GOAL:
            break
    print("saved " + algo.save_to_path(MODEL))
    algo.stop()
    del algo
    gc.collect()  # what still reads batches ends now, and not when Ray has gone
    if not returns[-1] >= GOAL:  # it may be no number: nan, where no episode has ended
        sys.exit(f"the mean return went from {returns[0]:.1f} to {returns[-1]:.1f}, not to {GOAL}: try more ITERATIONS")


if __name__ == "__main__":
    main()
