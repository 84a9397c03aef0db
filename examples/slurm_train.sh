#!/bin/bash
# Trains on 2 machines of 4 GPUs: sbatch examples/slurm_train.sh STORE RUN [options of fastbrain train]
#
# One torchrun on each machine starts one process for each GPU. STORE and RUN must be on a file
# system that all machines see. A job that was cut off goes on when it is submitted again.
#SBATCH --job-name=fastbrain
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue

set -euo pipefail

store=$1
run=$2
shift 2

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
resume=()
if [ -e "$run/config.json" ]; then
    resume=(--resume)
fi

srun torchrun \
    --nnodes "$SLURM_NNODES" \
    --nproc-per-node 4 \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$first:29500" \
    -m fastbrain.cli train "$store" "$run" --device cuda "${resume[@]}" "$@"
