# The whole developer interface. Every target sets up what it needs; a second run costs nothing.
PYTHON ?= python3
BIN := .venv/bin
BUILD_INPUTS := pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*)
# two test processes with one thread each beat one process with two; an idle one takes work over
JOBS ?= 2

.PHONY: help setup demo check test test-all test-gpu test-torch fuzz bench bench-report imports lint docs sdist wheels sbom clean
help:
	@echo "make setup  install into .venv; then '. .venv/bin/activate' gives the command fastbrain"
	@echo "make demo   simulate, train and decode a small cohort (minutes, no download)"
	@echo "make check  the quick tests    make test          also a quarter of the slow ones"
	@echo "make lint   static checks      make test-all      all tests"
	@echo "make test-gpu                  every kernel on the CUDA device"
	@echo "make fuzz   200,000 damaged files (FUZZ=n for n; make test tries 20,000)"
	@echo "make bench  CPU benchmarks     make bench-report  tables of the recorded rows"
	@echo "make docs   HTML manual        make clean         remove what make made, but not runs/bench"
	@echo "make sdist  dist/*.tar.gz      make wheels        manylinux wheels (needs docker)"
	@echo "make sbom   dist/sbom.json: what is installed here, as CycloneDX"
	@echo "make test-torch TORCH=2.10.0   the built wheel beside another torch (a large download)"

setup: .venv/.ready

$(BIN)/python:
	$(PYTHON) -m venv .venv

# Builds share one folder of objects: what `setup` compiled, `lint` and the wheel of the tests do not
# compile again. In an isolated build pybind11 is elsewhere, and everything would be.
# setuptools and wheel build rouge-score, which comes as source alone
.venv/.ready: $(BUILD_INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install -q 'scikit-build-core>=1.0' 'pybind11>=3.0' cmake ninja setuptools wheel
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[test]'
	@touch $@

# order only: a change in csrc is built once, by .ready
.venv/.lint: pyproject.toml constraints.txt | .venv/.ready
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[lint]'
	@touch $@

.venv/.docs: pyproject.toml constraints.txt | .venv/.ready
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[docs]'
	@touch $@

.venv/.bench: pyproject.toml constraints.txt | .venv/.ready
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[bench]'
	@touch $@

demo: .venv/.ready
	$(BIN)/fastbrain demo --out runs/demo --overwrite

# all contracts and references, one case for each kernel and backend, data, toy training
check: .venv/.ready
	FASTBRAIN_FUZZ=4000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

# all quick tests and one part of four of the slow ones, each commit another; PART=2/4 names one
PART ?= $(shell echo $$(($$(git rev-list --count HEAD 2>/dev/null || echo 0) % 4 + 1)))/4
test: .venv/.ready
	FASTBRAIN_TEST_PART=$(PART) OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-all:
	$(MAKE) test PART=1/1

test-gpu: .venv/.ready
	PYTHON=$(abspath $(BIN)/python) OUT=build/gpu benchmarks/gpu_suite.sh --only-selftest $(ARGS)

# One wheel serves every torch: the contract of the ops, on the installed wheel, beside version TORCH.
# Triton comes as that torch pins it, and its interpreter before 3.9 needs numpy below 2.4.
test-torch: .venv/.ready
	test -n "$(TORCH)" || (echo "usage: make test-torch TORCH=2.10.0"; exit 2)
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m pip wheel -q --no-build-isolation --no-deps -w build/wheel .
	$(PYTHON) -m venv build/torch-$(TORCH)
	grep -vE '^(torch|triton|numpy)=' constraints.txt > build/torch-$(TORCH)/constraints.txt
	build/torch-$(TORCH)/bin/python -m pip install -q -c build/torch-$(TORCH)/constraints.txt \
		torch==$(TORCH) 'numpy<2.4' "$$(ls build/wheel/*.whl)[test]"
	cd tests && OMP_NUM_THREADS=1 ../build/torch-$(TORCH)/bin/pytest -q contract ops nn lm llm4brain brainllm vqlm decoding $(ARGS)

FUZZ ?= 200000
fuzz: .venv/.ready
	FASTBRAIN_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/fuzz $(ARGS)

# rows, pictures and a page in runs/bench; a second run goes on where the first was interrupted
BENCH_S ?= 600
bench: .venv/.ready .venv/.bench
	$(BIN)/fastbrain bench run --budget-s $(BENCH_S) --out runs/bench/rows.jsonl $(ARGS); test $$? -le 1
	$(BIN)/fastbrain bench plot runs/bench/rows.jsonl --out runs/bench/plots
	$(BIN)/fastbrain bench report runs/bench/rows.jsonl --out runs/bench/report.html

bench-report: .venv/.ready
	$(BIN)/python benchmarks/report.py --write

# Layers and types are read from a copy that has `kernels` where users find it. -S keeps the
# editable installation out: it lists the checkout itself as a part of the package.
imports: .venv/.lint
	rm -rf build/imports && mkdir -p build/imports
	cp -r fastbrain build/imports/ && cp -r kernels build/imports/fastbrain/
	rm -r build/imports/fastbrain/kernels/hub
	cd build/imports && PYTHONPATH=.:$$(echo ../../.venv/lib/python*/site-packages) \
		../../$(BIN)/python -S ../../$(BIN)/lint-imports --config ../../pyproject.toml

lint: .venv/.ready .venv/.lint imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(wildcard csrc/*)
	$(BIN)/python tests/contract/words.py
	cd build/imports && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p fastbrain

docs: .venv/.ready .venv/.docs
	$(BIN)/python -m sphinx -W -q docs build/docs

.venv/.release: pyproject.toml constraints.txt | .venv/.ready
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[release]'
	@touch $@

sdist: .venv/.release
	$(BIN)/python -m build --sdist --outdir dist .

# from the sdist, as users and distributions would
MOST_MB := 20
wheels: sdist
	$(BIN)/python -m cibuildwheel --output-dir dist "$$(ls -t dist/*.tar.gz | head -1)"
	@large=$$(find dist -name '*.whl' -size +$(MOST_MB)M); \
		test -z "$$large" || (echo "wheels must be $(MOST_MB) MB at most: $$large"; exit 1)

sbom: .venv/.release
	mkdir -p dist
	$(BIN)/python -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file dist/sbom.json $(BIN)/python

clean:
	rm -rf .venv build dist runs/demo docs/gallery
