# make demo   set everything up and predict real examples in both languages
# make test   set up and pass the tests
# make serve  start the page at http://127.0.0.1:8025/
# make load   load the service, then mix in malformed requests, killed workers and reloads for ten minutes, or LOAD=60 (Debian, root)
# make lab    let real mail servers bounce mails on loopback and record what they write (Debian, root; five minutes)
# make lab-pipe   let Postfix, Exim and cron hand mails to bounceml as the README says (Debian, root; two minutes)
# make fuzz   feed the readers mutated mails and logs for 30 minutes, or SECONDS=…
# make equal  see on a million lines that what is remembered changes no verdict (ten minutes)
# make bench  measure start-up, streams, memory and mails, and write BENCHMARKS.md (fifteen minutes on a quiet machine, or ROWS=100000)
PYTHON ?= python3
SECONDS ?= 1800
ROWS   ?= 1000000
LOAD   ?= 600
VENV   ?= .venv
BIN     = $(VENV)/bin
# A process a core; the tests of a file share what it sets up, such as a cluster or a mail server.
PYTEST  = $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo setup tables test quick serve load lint fuzz equal train evaluate lab lab-pipe bench man wheel clean

demo: setup
	$(BIN)/bounceml predict "552 5.2.2 <joe@example.com>: mailbox full, try again later"
	$(BIN)/bounceml predict --lang zh "你发送到 wang@example.cn 的邮件由于以下原因被退回 : 550 CoremailSys:System is busy."
	$(BIN)/bounceml predict --explain "550-5.7.26 Your email has been blocked because the sender is unauthenticated. SPF = did not pass"
	$(BIN)/bounceml predict tests/mail/*.eml

setup: $(BIN)/bounceml

$(BIN)/bounceml: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m compileall -q bounceml
	touch $@

# The fact files as the JSON that prediction reads; tests fail where it is old.
tables: setup
	$(BIN)/python bounceml/tables/compiled.py

test: tables
	$(PYTEST)

quick: tables
	$(PYTEST) -m "not slow"

serve: tables
	$(BIN)/bounceml serve

# `wrk` makes requests faster than Python could.
load: tables
	command -v wrk >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk; }
	$(BIN)/python -m bench.load single
	$(BIN)/python -m bench.load batch
	$(BIN)/python -m bench.load mixed --seconds $(LOAD)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# An input of 32 KB that takes 10 seconds is a hang. The fuzzer has no wheel for every Python, so it is no part of setup.
fuzz: setup
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	$(BIN)/python fuzz/target.py fuzz/corpus -artifact_prefix=fuzz/crashes/ -dict=fuzz/words.dict -max_total_time=$(SECONDS) -max_len=32768 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1

equal: tables
	LINES_TO_COMPARE=1000000 $(BIN)/pytest tests/test_one_path.py

train: setup
	$(BIN)/bounceml train

evaluate: setup
	$(BIN)/bounceml evaluate

lab: setup
	lab/run

lab-pipe: wheel
	lab/pipe dist/*.whl

bench: setup
	$(BIN)/python -m bench --rows $(ROWS) > benchmarks.part
	mv benchmarks.part BENCHMARKS.md

# A test fails where an option is not on the manual page.
man: setup
	$(BIN)/python docs/manpage.py > docs/bounceml.1

wheel: setup
	rm -rf dist
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
