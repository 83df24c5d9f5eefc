#!/bin/bash
# A growth on several machines, by Slurm: one process a task, each with its share of every batch.
#   sbatch [--nodes=4 ...] runners/slurm.sh build/cifar --dataset cifar10 --data DIR --batch 1024 --bn-batch 64 --lr 0.8 --out runs/c10
# The same command goes on where a killed or requeued job stopped, with any number of tasks: the batch and its order stay.
# --batch is that of all tasks together; --bn-batch divides it, and each task takes whole groups of that many images, at
# least one. --out lies on a file system that all nodes see; task 0 writes there. --data may be a copy on each node, but the same files.
#SBATCH --job-name=fission
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8      # as many as a node has memory controllers (lstopo), or sockets; one a GPU where there are any
#SBATCH --cpus-per-task=8        # the threads of each
#SBATCH --time=24:00:00
#SBATCH --requeue                # a failed node: again, from the last checkpoint
#SBATCH --signal=USR1@120        # so many seconds before the time is over: all tasks save the same step and end with 138
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -eu
[ $# -gt 0 ] || { echo "usage: sbatch [options of sbatch] $0 PROGRAM OPTIONS..." >&2; exit 2; }

# How tasks find each other: MPI_TYPE=pmix (Open MPI) or pmi2 (MPICH, Intel); `srun --mpi=list` says what the site has.
# A task that dies ends all. Memory stays beside the cores that use it.
status=0
srun --mpi="${MPI_TYPE:-pmix}" --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --cpu-bind=cores \
  "$@" --threads "${SLURM_CPUS_PER_TASK:-1}" || status=$?
if [ $status = 138 ] && [ "${SLURM_JOB_ID:-}" ]; then  # the time was over, not the work: once more, from there
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
