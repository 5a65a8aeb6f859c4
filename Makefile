# make search, make test: each installs what it needs first, once, into a virtual environment of its own.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
EXTRAS ?= dev,hf,bo,tensorboard,ui
SEARCH ?= nano
PIP_ARGS ?=
PYTEST_ARGS ?=
GPU_CHECK ?= benchmarks/results/gpu_check
GPU_CHECK_ARGS ?=
SNAKEMAKE_ARGS ?=

# Kernels of Triton, which is compiled where it runs; their packages ask for CUDA's compilers all the same.
MAMBA := mamba-ssm==2.3.2.post1 causal-conv1d==1.7.0
FLA := fla-core==0.6.0
# torch for GPUs brings the Triton that it was built with; torch for CPUs brings none, and the tests interpret it.
TRITON := triton==3.9.0
# What they ask for is not installed: compilers, and other versions of what torch brings. Their builds import torch.
INSTALL_KERNELS = MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE CAUSAL_CONV1D_SKIP_CUDA_BUILD=TRUE \
	CAUSAL_CONV1D_FORCE_BUILD=TRUE $(BIN)/python -m pip install --no-deps --no-build-isolation $(PIP_ARGS)
AXE := axe-core@4.14.1
# The longest first, so that no worker is left alone with them; a real Slurm's tests are a run of their own.
ROOMS := tests/workflow/ $(filter-out tests/workflow/ tests/slurm/ tests/executor/ tests/kernels/,$(sort $(dir $(wildcard tests/*/test_*.py))))
STRIKES := $(addprefix tests/slurm/test_,machines_die.py processes_die.py told_to_leave.py search.py)

BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/.installed
SLURM_SAID := $(abspath $(VENV))/slurm-tests.txt

# Triton wants to know before it is imported that it interprets. fla has a folder of its own: where transformers finds it,
# its models take its kernels, which no CPU runs.
TEST_KERNELS = TRITON_INTERPRET=1 PYTHONPATH=$(abspath $(VENV))/fla $(BIN)/python -m pytest -n 2 --dist load --durations=5 tests/kernels $(PYTEST_ARGS)

# Each worker imports every test before it runs its own, which two cores feel; the third one works while others wait.
TEST_ROOMS = $(BIN)/python -m pytest -m 'not chaos' -n 3 --dist loadfile --no-loadscope-reorder --durations=15 $(ROOMS) $(PYTEST_ARGS)

# Each worker has a cluster of its own; the tests mostly wait for Slurm to notice what was done to it, so that `test` runs
# them beside the others. Not a make of its own within `test`: make runs a line that calls make even in a --dry-run, and
# the tests do dry runs.
TEST_SLURM = $(BIN)/python -m pytest -m 'not chaos' -n 4 --dist loadfile --no-loadscope-reorder --durations=15 $(STRIKES) \
	$(filter-out $(STRIKES),$(wildcard tests/slurm/test_*.py)) tests/executor $(PYTEST_ARGS)

# Whatever starts a command by name finds this environment's first; DeepSpeed compiles no op of its own.
export PATH := $(BIN):$(PATH)
export DS_BUILD_OPS := 0

.PHONY: help install kernels search test test-kernels test-slurm chaos bench gpu-check docs lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## the virtual environment (VENV=.venv, EXTRAS=dev,hf,bo,tensorboard,ui)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PYTHON: $(PYTHON): use Python 3.11 or newer, as in make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt $(PIP_ARGS) --editable '.[$(EXTRAS)]'
	touch $@

search: install  ## the search of config/nano.yaml, then its best candidates (SEARCH=nano)
	@$(BIN)/harmony config check config/$(SEARCH).yaml > /dev/null
	$(BIN)/snakemake --profile local --configfile config/$(SEARCH).yaml $(SNAKEMAKE_ARGS)
	$(BIN)/harmony top $(SEARCH)

kernels: install  ## the kernels of other packages that a GPU wants, without nvcc or hipcc
	$(INSTALL_KERNELS) $(MAMBA) $(FLA)

$(VENV)/.references: $(INSTALLED)
	$(INSTALL_KERNELS) $(MAMBA) || echo "$(MAMBA): not installed; the tests that compare with them will be skipped" >&2
	$(BIN)/python -m pip install --no-deps $(PIP_ARGS) --target $(VENV)/fla --upgrade $(FLA) || \
		echo "$(FLA): not installed; the tests that interpret its kernels will be skipped" >&2
	$(BIN)/python -c 'import triton' 2> /dev/null || $(BIN)/python -m pip install --no-deps $(PIP_ARGS) $(TRITON) || \
		echo "$(TRITON): not installed; the tests that interpret its kernels will be skipped" >&2
	touch $@

# What looks for hindrances in the pages of harmony ui; a test tool from npm, of which nothing is handed on.
$(VENV)/.axe: $(INSTALLED)
	npm install --no-audit --no-fund --prefix $(VENV)/axe $(AXE) || \
		echo "$(AXE): not installed; the tests that look at pages with it will be skipped" >&2
	touch $@

# What builds the documentation, and the evaluation harness with all that it brings, are no part of `make search`.
$(VENV)/.docs: $(INSTALLED)
	$(BIN)/python -m pip install --constraint constraints.txt $(PIP_ARGS) --editable '.[docs,eval]'
	touch $@

# Both sides of the pipe run at once. Through it comes the exit code of the side whose words wait in a file for the end of
# the other; a Ctrl-C, unlike one of a job in the background, reaches both.
test: install $(VENV)/.references $(VENV)/.axe $(VENV)/.docs  ## every test but chaos
	@{ $(TEST_SLURM) > $(SLURM_SAID) 2>&1 < /dev/null; echo $$?; } | { status=0; \
		{ $(TEST_ROOMS); } < /dev/null || status=1; \
		{ $(TEST_KERNELS); } < /dev/null || status=1; \
		read slurm; cat $(SLURM_SAID); [ "$$slurm" = 0 ] || status=1; exit $$status; }

test-kernels: install $(VENV)/.references  ## of these Triton's kernels, interpreted on the CPU
	$(TEST_KERNELS)

test-slurm: install  ## of these the executor plugin's, and those on a real Slurm, which they start and stop
	$(TEST_SLURM)

chaos: install  ## searches that are killed at random moments and resumed
	$(BIN)/python -m pytest -m chaos $(PYTEST_ARGS)

bench: install  ## every benchmark of benchmarks/
	@status=0; for name in worker_start training_throughput engine_overhead rounding operators planner_machine planner_published search_run baselines queue_claims planning executor \
		utilisation simulation lag_quality search_quality latency_under_load variation balancing token_budgets every_mixer composer_engines head \
		data_memory rendezvous file_operations frontier_search report ask ui; do \
		echo "== $$name"; $(BIN)/python -m benchmarks.$$name || status=1; done; exit $$status

gpu-check: install  ## what no CPU can show, in nine minutes on one GPU, without a network
	$(BIN)/python -m benchmarks.gpu_check --out $(GPU_CHECK).json --page $(GPU_CHECK).html $(GPU_CHECK_ARGS)

docs: install $(VENV)/.docs  ## the documentation's site, in build/site, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000"

lint: install  ## ruff, mypy and snakefmt, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict harmony_core snakemake_executor_plugin_submitit snakemake_logger_plugin_harmony
	$(BIN)/snakefmt --check Snakefile workflow

format: install  ## what ruff and snakefmt can put right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

clean:  ## removes the virtual environment and caches, never results
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
