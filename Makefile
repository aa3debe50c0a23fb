# make demo : environment, then the main job from end to end on data it makes itself
# make test : the same environment and the test tools, lint, types, the whole suite with the examples of the docstrings
# make docs : the site of docs/ in site/; a warning (a link, an anchor, a docstring) is an error
# make test-portable : the suite with the instructions that every x86 processor since 2013 has (AVX2)
VENV ?= .venv
PYTHON ?= python3
PY = $(VENV)/bin/python
PIP = $(VENV)/bin/pip
CODE = ecg_transformers training tests benchmarks docs/*.py apps examples/*.py
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test suite test-portable test-slow test-floor lint types docs notebooks clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Call: make PYTHON=python3.12 demo") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the package with pinned versions into $(VENV); the first time this takes some minutes ..."
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,train,formats,download,hdf5,onnx,app,beats]'
	@touch $@

$(VENV)/.docs-installed: $(VENV)/.installed
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

demo: $(VENV)/.installed
	$(PY) training/demo.py --output_dir demo

# Two workers on two cores: each test process computes with one thread.
test test-portable test-slow test-floor: export OMP_NUM_THREADS = 1

# Types are checked while the suite starts.
test: $(VENV)/.test-installed lint
	@$(MAKE) --no-print-directory -j 2 types suite

suite: $(VENV)/.test-installed
	$(PY) tests/conformance/fetch_sources.py
	$(PY) -m pytest -n 2 --dist loadscope --no-loadscope-reorder -q

lint: $(VENV)/.test-installed
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check -q $(CODE)

types: $(VENV)/.test-installed
	$(VENV)/bin/mypy ecg_transformers

docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.docs-installed
	$(VENV)/bin/mkdocs build --strict --quiet
	@echo "-> site/index.html; its search needs a server: $(PY) -m http.server -d site"

# The notebooks of examples/ anew, written with their outputs.
notebooks: $(VENV)/.test-installed
	$(PY) examples/execute.py

# Kernels depend on the processor: without AVX-512 and AMX they are those of an older or another machine.
test-portable: export ATEN_CPU_CAPABILITY = avx2
test-portable: export ONEDNN_MAX_CPU_ISA = AVX2
test-portable: export MKL_ENABLE_INSTRUCTIONS = AVX2
test-portable: suite

test-slow: $(VENV)/.test-installed
	$(PY) -m pytest -m slow -q

# The oldest supported Transformers, in an environment of its own.
test-floor:
	$(MAKE) VENV=.venv-floor .venv-floor/.test-installed
	.venv-floor/bin/pip install --quiet --disable-pip-version-check transformers==5.17.0 huggingface_hub==1.33.0
	.venv-floor/bin/python tests/conformance/fetch_sources.py
	.venv-floor/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -q

clean:
	rm -rf demo site .cache .pytest_cache .mypy_cache .ruff_cache
