"""What a process may do that has opened TensorFlow, and what one may no longer do that has loaded a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import InProcess

COMMON = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel

def ask(model):
    return model.run({"x": np.float32([2])})["y"].tolist()

def exit_codes(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

def threads():
    return len(os.listdir("/proc/self/task"))

library = Library()
"""
OPENED = """
def child():
    signal.alarm(30)  # one that hangs must end
    model = SavedModel(library, Path(sys.argv[1]))
    right = ask(model) == [2]
    model.close()
    os._exit(0 if right else 1)

before = threads()
children = [os.fork() or child() for _ in range(10)]
print(json.dumps([before, exit_codes(children)]))
"""
LOADED = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, about the very thing that is tried here

# Threads of its own: freeing such a session joins them, and in a child they are gone.
config = protos.ConfigProto(use_per_session_threads=True)
model = SavedModel(library, Path(sys.argv[1]), config=config.SerializeToString())
ask(model)

def refused(call):
    try:
        call()
    except RuntimeError as error:
        return f"was forked from {os.getppid()}, which had loaded a model" in str(error)

def child():
    signal.alarm(30)  # one that hangs must end
    calls = (lambda: ask(model), lambda: model.close(), lambda: SavedModel(library, Path(sys.argv[1])))
    right = [refused(call) for call in calls]
    del globals()["model"]  # collecting it here must not hang either
    os._exit(0 if all(right) else 1)

print(json.dumps([exit_codes([os.fork() or child()]), ask(model)]))
"""
CONFIG = """
before = threads()
model = SavedModel(library, Path(sys.argv[1]), config=protos.ConfigProto(**json.loads(sys.argv[2])).SerializeToString())
ask(model)
print(threads() - before)
"""
OPENSSL = """
import sys
assert "ssl" not in sys.modules and "_hashlib" not in sys.modules
from pytest_mme.libtensorflow.capi import Library
library = Library()
import hashlib, ssl
ssl.create_default_context()
print(hashlib.new("sha256", b"abc").hexdigest()[:8], library.version)
"""


def test_a_process_that_only_opened_tensorflow_may_fork(in_process: InProcess, tmp_path: Path) -> None:
    threads, codes = json.loads(in_process(COMMON + OPENED, graphs.identity().write(tmp_path)))
    assert threads == 1
    assert codes == [0] * 10


def test_a_child_of_a_process_that_loaded_a_model_gets_an_error_and_does_not_hang(
    in_process: InProcess, tmp_path: Path
) -> None:
    codes, answer = json.loads(in_process(COMMON + LOADED, graphs.identity().write(tmp_path)))
    assert codes == [0]
    assert answer == [2]


@pytest.mark.parametrize("pool", ["intra_op_parallelism_threads", "inter_op_parallelism_threads"])
def test_the_config_decides_the_number_of_threads(in_process: InProcess, tmp_path: Path, pool: str) -> None:
    directory = graphs.identity().write(tmp_path)
    threads = {wanted: int(in_process(COMMON + CONFIG, directory, json.dumps({pool: wanted}))) for wanted in (2, 7)}
    assert threads[7] - threads[2] == 5


def test_openssl_works_beside_tensorflow(in_process: InProcess) -> None:
    digest, version = in_process(OPENSSL).split()
    assert digest == "ba7816bf"
    assert version.count(".") == 2
