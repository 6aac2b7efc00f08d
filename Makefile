# make demo      train the demo matrix here, with a preemption on the way, and show the result
# make test      run all tests; those that need a SLURM or a browser are skipped where there is none
# make test SLURM=install    install both from Debian's packages first (as root), and skip nothing
# make check     format, lint, types
# make bench     networks and layers beside their references, as ratios of time and memory; what the
#                trainer costs, and what stopping it does; what the launcher costs, how much sooner
#                slices start, on private clusters if there is a SLURM, and a table of many runs;
#                then whether LambdaResNets train, if data/ holds CIFAR-10 (or with CIFAR10=FILE.npz)
# make chaos     half an hour of hundreds of faults on a private real SLURM while small runs train,
#                and a judge of what is left; MINUTES=5 SEED=7 for another storm, or the same again
# make install   what the others call first; a second call does nothing

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

# The versions of everything, also of what builds the package.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Two files at a time: most tests wait, or use one core.
IN_PARALLEL := --numprocesses=2 --dist=loadfile

.PHONY: install demo test check bench chaos clean

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python -m launcher.demo

test: $(INSTALLED)-test
ifeq ($(SLURM),install)
	sh tests/slurm_cluster/install.sh
	sh tests/browser/install.sh
	SLURM_TESTS=required $(BIN)/python -m pytest $(IN_PARALLEL) $(PYTEST)
else
	$(BIN)/python -m pytest $(IN_PARALLEL) $(PYTEST)
endif

check: $(INSTALLED)-check $(INSTALLED)-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Threads that spin while they wait make every figure meaningless on a machine that others use.
bench: export OMP_WAIT_POLICY = PASSIVE
bench: $(INSTALLED)-test
	$(BIN)/python -m tests.benchmarks.networks
	$(BIN)/python -m tests.benchmarks.trainer
	$(BIN)/python -m tests.benchmarks.launcher
	$(BIN)/python -m tests.benchmarks.submission
	$(BIN)/python -m tests.benchmarks.scheduler
	$(BIN)/python -m tests.benchmarks.slices
	$(BIN)/python -m tests.benchmarks.analysis
	$(BIN)/python -m tests.benchmarks.lambda_training --bf16 $(if $(CIFAR10),--cifar10 $(CIFAR10))

chaos: $(INSTALLED)-test
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into .venv: torch is several GB, so the first time takes some minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(INSTALLED)-%: $(INSTALLED)
	$(BIN)/pip install --quiet --editable '.[$*]'
	@touch $@
