# make demo   set everything up and predict real examples in both languages
# make test   set up and pass the tests
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

.PHONY: demo setup test quick lint train evaluate wheel clean

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
	touch $@

test: setup
	$(BIN)/pytest

quick: setup
	$(BIN)/pytest -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

train: setup
	$(BIN)/bounceml train

evaluate: setup
	$(BIN)/bounceml evaluate

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
