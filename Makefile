# torchmodes: `make` sets up everything and runs it; `make help` lists the other targets.
# Needs Python 3.11 to 3.13 and, for TorchInductor and the custom operators, a C++ compiler.
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= 4
MINUTES ?= 20
BIN := .venv/bin
UV := uv==0.13.8
# Quotes a value as one word for the shell. ARGS may be several words, so it is never quoted.
quoted = '$(subst ','\'',$(1))'
# Checked first, because Snakemake does not say which configuration file cannot be read, or where.
SNAKEMAKE = $(BIN)/python -m torchmodes.config.files $(ARGS) && \
    $(BIN)/snakemake --cores $(call quoted,$(CORES)) $(ARGS)

# Hundreds of processes start: each reads the bytecode that earlier ones have written.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := run

run: .venv/ready ## set up, then measure everything in config.yaml (CORES=4, ARGS='--config seed=7')
	$(SNAKEMAKE)

smoke: .venv/ready ## the whole pipeline on a tiny grid: two or three minutes
	$(SNAKEMAKE) --configfile config/smoke.yaml

.PHONY: app
app: .venv/ready ## the app on results/: predict, compare, look inside (ARGS='--server.port 8600')
	$(BIN)/python -m streamlit run app/main.py $(ARGS)

tensorboard: .venv/ready ## TensorBoard with the profiler plugin, showing the traces (ARGS='--port 6007')
	$(BIN)/uv tool run --quiet --python $(BIN)/python --from tensorboard \
	    --with-requirements requirements-tensorboard.in tensorboard --logdir results/tensorboard $(ARGS)

test: .venv/ready ## all tests but the four below, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-envs: .venv/ready ## every rule in its own environment of envs/; lints the Dockerfile
	$(BIN)/python -m pytest -m environments tests/environments $(ARGS)

test-robustness: .venv/ready ## runs that are killed ten times, and a machine without a compiler
	$(BIN)/python -m pytest -m robustness $(ARGS)

test-slurm: .venv-cluster/ready ## on a real SLURM cluster of two nodes, started here (needs root; installs slurm-wlm, munge)
	.venv-cluster/bin/python -m pytest -m cluster tests/slurm $(ARGS)

test-pods: .venv-cluster/ready ## the pods that Kubernetes would be asked for (needs rsync, no cluster)
	.venv-cluster/bin/python -m pytest -m cluster tests/pods $(ARGS)

lint: .venv/ready ## ruff, snakefmt, types, spelling, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check .
	$(BIN)/ty check
	$(BIN)/codespell
	$(BIN)/snakemake --lint

check: .venv/ready ## build every configured model and run it once (ARGS='--configfile mine.yaml', --download)
	$(BIN)/python -m torchmodes.workloads.models.check $(ARGS)

try: .venv/ready ## one model in five modes: make try MODEL=timm/convnext_tiny (MODES='eager inductor', BATCH=1)
	@test -n $(call quoted,$(MODEL)) || { echo "Name a model: make try MODEL=timm/convnext_tiny"; exit 2; }
	$(BIN)/python -m torchmodes.workloads.models.trial $(call quoted,$(MODEL)) --cores $(call quoted,$(CORES)) \
	    $(if $(BATCH),--batch $(call quoted,$(BATCH))) $(if $(MODES),--modes $(foreach mode,$(MODES),$(call quoted,$(mode))))

bench: .venv/ready ## measures the measuring engine itself: an hour (ARGS='--only engine': ten minutes)
	$(BIN)/python -m benchmarks.engine $(ARGS)

bench-scaling: .venv/ready ## times planning, summary and report of up to 10,000 cases
	$(BIN)/python -m benchmarks.scaling $(ARGS)

gpu-pack: .venv/ready ## wheels and a script for a GPU machine without a network, in .kit/ (docs/offline.md)
	$(BIN)/python -m benchmarks.gpu.pack $(ARGS)

report: .venv/ready ## Snakemake's own report of a finished run: reports/snakemake.html and .zip
	$(SNAKEMAKE) --report reports/snakemake.html
	$(SNAKEMAKE) --report reports/snakemake.zip

sharpen: .venv/ready ## add runs where an answer is open: MINUTES=20, or CASE=inference/cpu/…/fp32-b1, RUNS=8
	$(BIN)/python -m torchmodes.config.files $(ARGS) && $(BIN)/python -m torchmodes.sharpen --minutes $(call quoted,$(MINUTES)) \
	    $(if $(CASE),--case $(call quoted,$(CASE))) $(if $(RUNS),--runs $(call quoted,$(RUNS))) --cores $(call quoted,$(CORES)) $(ARGS)

compare: .venv/ready ## this run against another: make compare BASE=other/results (fails where slower)
	@test -n $(call quoted,$(BASE)) || { echo "Name the results to compare with: make compare BASE=path/of/another/results"; exit 2; }
	$(BIN)/python -m torchmodes.report.comparison $(call quoted,$(BASE)) $(ARGS)

lock: .venv/ready ## write requirements.lock anew from requirements.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header requirements.in --output-file requirements.lock

clean: ## remove everything that runs made, conda environments too; keep .venv
	find results reports -mindepth 1 ! -name README.md -delete
	rm -rf logs .snakemake .cache

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 18

.venv/ready: requirements.lock
	@$(call quoted,$(PYTHON)) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	    f"torchmodes needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	@command -v c++ g++ clang++ >/dev/null || echo "No C++ compiler found: TorchInductor and the custom \
	operators will be recorded as unsupported. (Debian: apt-get install g++; macOS: xcode-select --install)"
	@echo "Setting up .venv once, from requirements.lock: some 7 GB, minutes where they are downloaded."
	$(call quoted,$(PYTHON)) -m venv .venv
	$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	touch $@

# The packages of .venv, and those that a cluster needs.
.venv-cluster/ready: .venv/ready requirements-cluster.in
	$(BIN)/python -m venv --clear --without-pip .venv-cluster
	here() { $$1/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	    here .venv > "$$(here .venv-cluster)/torchmodes.pth"
	$(BIN)/uv pip install --quiet --python .venv-cluster/bin/python \
	    --constraint requirements.lock --requirements requirements-cluster.in
	touch $@

.PHONY: run smoke tensorboard test test-envs test-robustness test-slurm test-pods lint check try
.PHONY: bench bench-scaling gpu-pack report compare sharpen lock clean help
