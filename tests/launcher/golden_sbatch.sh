#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --array=0-19%8
#SBATCH --constraint='v100&nvlink'
#SBATCH --cpus-per-task=4
#SBATCH --gres=gpu:v100:1
#SBATCH --job-name=sweep-1f2e3d4c
#SBATCH --mail-type=END,FAIL
#SBATCH --mail-user=me@example.org
#SBATCH --mem=16G
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output='/runs/it'"'"'s/slurm/me/t0/%A_%a_0_log.out'
#SBATCH --partition=gpu_8,gpu_4
#SBATCH --qos=normal
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=2160

# setup
set -e
module load cuda
# the frozen code, before whatever lies in the working directory
export PYTHONPATH='/runs/it'"'"'s/code/abc'${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1
# without this, every task would use all the CPUs of a node that does not confine it
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
# all tasks share one pickle, which is here before the launcher could move it
shared='/runs/it'"'"'s/slurm/me/t0/task.pkl'
task="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"
own="$(dirname "$shared")/${task:-$SLURM_JOB_ID}_submitted.pkl"
test -e "$own" || cp "$shared" "$own"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/runs/it'"'"'s/slurm/me/t0/%A_%a_%t_log.out' --kill-on-bad-exit=1 --cpus-per-task=4 PYTHON -I -S -c 'import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM}); os.execv(sys.argv[1], sys.argv[1:])' PYTHON -u -m submitit.core._submit FOLDER
