#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --array=0-6%7
#SBATCH --constraint='v100&nvlink'
#SBATCH --cpus-per-task=4
#SBATCH --exclude='n[1-2],n7'
#SBATCH --gres=gpu:v100:1
#SBATCH --job-name=sweep-1f2e3d4c
#SBATCH --mail-type=END,FAIL
#SBATCH --mail-user=me@example.org
#SBATCH --mem=48G
#SBATCH --nice=100
#SBATCH --nodelist=n3
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=3
#SBATCH --open-mode=append
#SBATCH --output='/runs/it'"'"'s/slurm/me/t0/%A_%a_0_log.out'
#SBATCH --partition=gpu_8,gpu_4
#SBATCH --qos=normal
#SBATCH --requeue
#SBATCH --reservation=course
#SBATCH --signal=USR2@120
#SBATCH --time=2160

# setup
set -e
module load cuda
# the frozen code, before whatever lies in the working directory
export PYTHONPATH='/runs/it'"'"'s/code/abc'${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1
# without this, every task would use all the CPUs of a node that does not confine it
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
# all tasks share one pickle; what submitit puts beside it goes when a task has ended
shared='/runs/it'"'"'s/slurm/me/t0/task.pkl'
own="$(dirname "$shared")/${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"
own="$own${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
trap 'rm -f "${own}_submitted.pkl" "$own"_*_result.pkl' EXIT
ln -sf "$shared" "${own}_submitted.pkl"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/runs/it'"'"'s/slurm/me/t0/%A_%a_%t_log.out' --kill-on-bad-exit=0 --wait=0 --cpus-per-task=4 PYTHON -I -S -c 'import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM}); os.execv(sys.argv[1], sys.argv[1:])' PYTHON -u -m submitit.core._submit '/runs/it'"'"'s/slurm/me/t0'
