"""Records episodes of CartPole while PPO learns, for Ray 2.41 and later.

In 0.8.6 this was `rllib train --run=PG` with "output". PG left RLlib in 2024; PPO is the nearest that is there.
Episodes are Parquet files now, in OUT, a directory that all nodes see. The env runners have a CPU each. One more stays
free for the tasks by which they write.
"""

import os
import pathlib
import sys

import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import cpus
import episodes
import place

OUT = os.environ.get("OUT", "/shared/cartpole-out")
GOAL = cpus.number("GOAL", 150)
ROWS = 50  # episodes in a file


def main():
    torch.set_num_threads(1)  # for networks this small more threads do nothing but wait for each other
    ray.init(log_to_driver=False)  # RAY_ADDRESS says where
    place.seen_by_all(OUT)
    if any(pathlib.Path(OUT).rglob("*.parquet")):
        sys.exit(f"{OUT} has a record already: remove it, or give another directory as OUT")
    runners = cpus.runners(place.free_cpus(), 1, cpus.number("WORKERS"))
    print(f"{cpus.many(runners, 'env runner')}, and 1 CPU for what is written", flush=True)
    algo = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=runners, batch_mode="complete_episodes")
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64]))
        .training(lr=3e-3, num_epochs=8, minibatch_size=256, train_batch_size_per_learner=2048, vf_loss_coeff=0.01)
        .offline_data(
            output=OUT,
            output_write_episodes=True,
            # Without a number of rows all episodes before are written once more with each new one.
            output_max_rows_per_file=ROWS,
            # And without this each row becomes a file, by a task of its own.
            output_write_method_kwargs={"min_rows_per_file": ROWS},
            output_write_remaining_data=True,
        )
        .build_algo()
    )
    returns = []
    for i in range(cpus.number("ITERATIONS", 40, least=1)):
        returns.append(algo.train()["env_runners"]["episode_return_mean"])
        print(f"iteration {i + 1}: mean return {returns[-1]:.1f}", flush=True)
        if returns[-1] >= GOAL:
            break
    algo.stop()  # writes what is still in the env runners' buffers
    print("recorded " + episodes.line(OUT))
    if not returns[-1] >= GOAL:  # it may be no number: nan, where no episode has ended
        sys.exit(f"the mean return rose from {returns[0]:.1f} to {returns[-1]:.1f}, not to {GOAL}: try more ITERATIONS")


if __name__ == "__main__":
    main()
