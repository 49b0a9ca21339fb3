#!/bin/sh
# Record with PG, then learn from the record with DQN, for Ray 0.8.6: `rllib train` was removed after 2.40.
# The record is written by workers on every node and read by workers on every node, so it lies on a volume that all of them mount.
set -eu
out=${OUT:-/shared/cartpole-out}

rllib train --run=PG --env=CartPole-v0 \
	--stop='{"timesteps_total": 100000}' \
	--config='{"output": "'"$out"'", "output_max_file_size": 5000000}'

ls -l "$out"

rllib train --run=DQN --env=CartPole-v0 \
	--stop='{"training_iteration": 20}' \
	--config='{"input": "'"$out"'", "input_evaluation": [], "explore": false}'
