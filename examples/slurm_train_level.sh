#!/usr/bin/env bash
# One level on several machines with Slurm and torchrun:
#
#     sbatch examples/slurm_train_level.sh 2 --data /data/shards --model runs/level1 --out=runs/level2
#
# Everything after the script's name goes to `hvg train-level`; write --out=FOLDER in one word. The batch of
# the preset is that of all processes together, so the result does not depend on how many machines there are.
# The run stops by itself before the time limit, with its state saved, and the job puts itself in the queue
# again until the model is there; it may go on with another number of machines.
#SBATCH --job-name=hvg
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=hvg-%j.log
set -euo pipefail
minutes=1410 # half an hour less than --time

out=
for argument in "$@"; do
    if [[ $argument == --out=* ]]; then out=${argument#--out=}; fi
done
: "${out:?give the run folder as --out=FOLDER}"

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv-id "$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$head:29500" \
    -m hvgcli train-level "$@" --minutes "$minutes" --no-progress

if [[ ! -f $out/model/checksums.json ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
