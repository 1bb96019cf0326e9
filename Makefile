# The whole developer interface. `make serve` and `make test` prepare what they need by themselves.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := -m pip install --disable-pip-version-check --quiet
WHEELS ?= cpu  # PyTorch's build: cpu, or cuda for published checkpoints on a GPU
WHEELS := $(strip $(WHEELS))
MINUTES ?= 60

.PHONY: setup serve test lint bench train body portraits clean
.DEFAULT_GOAL := setup

# What serving needs, and on top of it what tests and development need; one stamp for each in .venv.
$(VENV)/.serve-$(WHEELS): pyproject.toml constraints.txt tools/install.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo 'Python environment in $(VENV), PyTorch for $(WHEELS)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/install.py --wheels $(WHEELS) --extras tts
	@rm -f $(VENV)/.serve-* $(VENV)/.ready && touch $@

$(VENV)/.ready: $(VENV)/.serve-$(WHEELS)
	@$(BIN)/python tools/install.py --wheels $(WHEELS) --extras dev
	@$(BIN)/python $(PIP) --constraint constraints.txt --no-deps pipecat-ai  # asks for protobuf < 7
	@touch $@

setup: $(VENV)/.ready  ## builds .venv with everything that testing and development need

serve: $(VENV)/.serve-$(WHEELS)  ## the server, on http://127.0.0.1:8080
	@exec $(BIN)/python run_server.py $(ARGS)

test: lint  ## style, types, and the whole test suite
	$(BIN)/python -m pytest $(ARGS)

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## speed and quality of rendering, as tables and JSON lines
	$(BIN)/python -m benchmarks.render $(ARGS)
	$(BIN)/python -m benchmarks.quality

train: setup  ## the weights anew: voices, corpus, networks; run it again to go on where it stopped
	$(BIN)/python -m training.voices.generate
	$(BIN)/python -m training.corpus
	$(BIN)/python -m training.train --minutes $(MINUTES) $(ARGS)

body: .venv-train/.ready  ## the body asset anew, from CC0 data
	.venv-train/bin/python -m training.body.build $(ARGS)

portraits: .venv-train/.ready  ## the bundled people anew
	.venv-train/bin/python -m training.portraits --out pipeline/models/mini/avatars $(ARGS)

.venv-train/.ready: pyproject.toml constraints-train.txt
	$(PYTHON) -m venv .venv-train
	.venv-train/bin/python $(PIP) --constraint constraints-train.txt --editable '.[train]'
	touch $@

clean:  ## removes what make built
	rm -rf $(VENV) .venv-train *.egg-info .pytest_cache .mypy_cache .ruff_cache
