# make demo, make test: on a fresh Debian machine with Python 3.10 to 3.12 nothing else is needed.
# Every step leaves a stamp or asks for what is there, so repeating a command costs nothing.

PORT ?= 7860
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
# The locks hold all that there is to install: nothing has to be worked out. What is imported is compiled then.
INSTALL := $(RUN) -m pip install -q --require-hashes --no-deps --no-compile
APT := DEBIAN_FRONTEND=noninteractive apt-get
# Nothing is asked of the Hugging Face Hub or of Gradio's servers unless a checkpoint from there is chosen.
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo talk test lint format bench soak setup setup-dev recipes scale lock screenshot ffmpeg chromium renderer clean

demo: setup ## run the app on http://localhost:7860
	VJEPA_DEMO_PORT=$(PORT) $(RUN) app.py

talk: setup ## a talk with a projector and a clicker, without a network: http://localhost:7860/?talk=1
	VJEPA_DEMO_PORT=$(PORT) HF_HUB_OFFLINE=1 $(RUN) app.py --talk $(if $(SCENES),--scenes $(SCENES))

# Files that start apps and browsers come first by name; sorted by their number of tests, as is usual, they come last.
# What fails beside the others runs once more, alone: a machine that has much other work may be late, a fault is there twice.
test: setup-dev ## every test; those that need a GPU, the Hub or a renderer skip and say why
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 20 || \
		{ test $$? = 1 && $(RUN) -m pytest --last-failed --last-failed-no-failures none; }

lint: setup-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pip check
	$(RUN) -m mypy
	$(VENV)/bin/oxlint --deny-warnings vjepa_demo tests

format: setup-dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: setup-dev ## what takes how long here: one table at the end, also in BENCHMARKS.md, its rows in bench.json
	@missed=0; for file in $(filter-out bench/speed.py,$(wildcard bench/*.py)) bench/speed.py; do echo "== $$file"; $(RUN) $$file || missed=1; done; exit $$missed

soak: setup-dev ## many visitors for twenty minutes, and processes killed at random moments; takes an hour
	$(RUN) tests/soak.py
	$(RUN) tests/kill_app.py --times 20
	$(RUN) tests/kill_build.py --times 20

screenshot: setup-dev ## remake the README's picture from the running app
	$(RUN) tests/screenshot.py assets/screenshot.png

setup: ffmpeg $(VENV)/runtime.stamp

setup-dev: setup chromium $(VENV)/dev.stamp

recipes: setup-dev renderer $(VENV)/recipes.stamp ## what the recipes in assets/recipes need

scale: setup-dev $(VENV)/scale.stamp ## what jobs of many clips need: docs/scale.md

# An environment whose Python has gone, or which was made half-way, is made anew. Debian keeps venv in a package of its own.
$(VENV)/runtime.stamp: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.10, 3.11 or 3.12 is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory apt-python3-venv
	@$(RUN) -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) -r requirements.lock
	$(RUN) -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(INSTALL) -r requirements-dev.lock
	@touch $@

$(VENV)/recipes.stamp: assets/recipes/requirements.lock $(VENV)/dev.stamp
	$(INSTALL) -r assets/recipes/requirements.lock
	@touch $@

$(VENV)/scale.stamp: requirements-scale.lock $(VENV)/dev.stamp
	$(INSTALL) -r requirements-scale.lock
	@touch $@

# Every package that the pins bring along, at one version and with its hashes, for Python 3.10 to 3.12. What is locked
# for running with any Python is not repeated for developing, nor that for the recipes; all of them are chosen to
# go together.
lock: $(VENV)/runtime.stamp ## pin all packages anew, after a change of the requirements
	@mkdir -p build && $(RUN) -m venv build/lock && build/lock/bin/python -m pip install -q uv==0.13.9
	$(COMPILE) -o build/lock/all.txt requirements.txt requirements-dev.txt requirements-scale.txt assets/recipes/requirements.txt
	$(COMPILE) -c build/lock/all.txt -o requirements.lock requirements.txt
	$(COMPILE) -c build/lock/all.txt -o requirements-dev.lock requirements-dev.txt $(call without,requirements.lock)
	$(COMPILE) -c build/lock/all.txt -o assets/recipes/requirements.lock assets/recipes/requirements.txt \
		$(call without,requirements.lock requirements-dev.lock)
	$(COMPILE) -c build/lock/all.txt -o requirements-scale.lock requirements.txt requirements-scale.txt \
		$(call without,requirements.lock requirements-dev.lock)

COMPILE := build/lock/bin/uv pip compile -q --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"
without = $$(sed -n '/python_full_version/!s/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' $(1))

ffmpeg: # torchcodec loads FFmpeg's shared libraries
	@command -v ffmpeg >/dev/null && { PATH=$$PATH:/sbin ldconfig -p 2>/dev/null || echo libavcodec; } | grep -q libavcodec \
		|| $(MAKE) --no-print-directory apt-ffmpeg

chromium:
	@command -v chromium >/dev/null || $(MAKE) --no-print-directory apt-chromium

renderer: # MuJoCo renders through EGL on the CPU
	@PATH=$$PATH:/sbin ldconfig -p | grep -q libEGL.so.1 && ls /usr/lib/*/dri/*swrast* /usr/lib/*/libgallium* >/dev/null 2>&1 \
		|| $(MAKE) --no-print-directory apt-libegl1 apt-libgl1-mesa-dri

apt-%:
	@command -v apt-get >/dev/null || { echo "$* is missing: install it with this system's package manager"; exit 1; }
	@test "$$(id -u)" = 0 || test -n "$(SUDO)" || { echo "$* is missing and needs an administrator: apt-get install $*"; exit 1; }
	@$(SUDO) $(APT) update -qq && $(SUDO) $(APT) install -y -qq --no-install-recommends $* >/dev/null

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache build
