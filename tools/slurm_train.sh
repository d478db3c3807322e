#!/bin/sh
# Train on several machines under Slurm: one torchrun on every node, one process on every GPU.
#
#   sbatch --nodes 2 --gpus-per-node 8 tools/slurm_train.sh CONFIG --work-dir work_dirs/run [flags of tools/train.py]
#
# Submit from the repository, on a file system that all nodes share, as the data and the work folder must be. PYTHON
# names the interpreter. After a failure the processes are restarted, three times at most, and go on from the last
# checkpoint. Two minutes before the time limit they finish their step and write one; the same command goes on from it.
#SBATCH --job-name=bevkd
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu
[ $# -gt 0 ] || { echo "error: no config, expected: sbatch --nodes N tools/slurm_train.sh CONFIG [flags]" >&2; exit 2; }
master=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# With a store of its own for every attempt, restarted processes cannot read the addresses of dead ones.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec srun "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-1}" --max-restarts 3 \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$master:$((20000 + SLURM_JOB_ID % 10000))" \
    tools/train.py "$@" --launcher pytorch --resume
