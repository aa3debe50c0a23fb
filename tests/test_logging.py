"""The loggers of the package follow Transformers' verbosity, handlers and environment variable."""

import logging
import os
import sys

import pytest
from transformers.utils import logging as library

import ecg_transformers  # noqa: F401

from . import fresh

# One module that uses Transformers' logger, one that uses the standard library's, one of the numpy-only part.
NAMES = ("ecg_transformers.trainer.resume", "ecg_transformers.corpora.splits", "ecg_transformers.signals.record")

SCRIPT = f"""
import logging
import ecg_transformers
from ecg_transformers.corpora.splits import split_by_patient
from ecg_transformers.trainer import resume
split_by_patient([-1, -1, -1, -1], 2)
resume.logger.warning_once("warned once")
resume.logger.warning_once("warned once")
for name in {NAMES}:
    logging.getLogger(name).info("informed by %s", name)
"""


@pytest.mark.parametrize("name", NAMES)
def test_the_verbosity_of_transformers_holds(name, caplog):
    logger = logging.getLogger(name)
    library.set_verbosity_error()
    logger.warning("silenced")
    logger.error("failed")
    library.set_verbosity_warning()
    logger.info("silenced")
    logger.warning("warned")
    library.set_verbosity_info()
    logger.info("informed")
    assert caplog.messages == ["failed", "warned", "informed"]


@pytest.mark.parametrize("name", NAMES)
def test_the_handlers_of_transformers_are_used(name):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    library.add_handler(handler)
    try:
        logging.getLogger(name).warning("handled")
    finally:
        library.remove_handler(handler)
    assert messages == ["handled"]


def output_under(level: str | None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "TRANSFORMERS_VERBOSITY"}
    environment |= {} if level is None else {"TRANSFORMERS_VERBOSITY": level}
    done = fresh.run([sys.executable, "-c", SCRIPT], env=environment)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_environment_variable_holds_in_a_fresh_process():
    usual = output_under(None)
    assert usual.count("leakage") == usual.count("warned once") == 1
    assert "informed" not in usual
    assert output_under("error") == ""
    shown = output_under("info")
    assert shown.count("leakage") == shown.count("warned once") == 1
    assert all(shown.count(f"informed by {name}") == 1 for name in NAMES)
