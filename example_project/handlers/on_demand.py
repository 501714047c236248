"""The fourth way, and the right one: on demand, bounded, one load for all who wait for it, and each model for itself.

Each model has a process of its own: TensorFlow gives a model's memory back when its process ends, and not before.
"""

import threading
from collections import OrderedDict
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import model_process

MOST = 2
"""So many models are kept; the one that was not asked for longest goes."""

_lock = threading.Lock()
_processes = OrderedDict()  # by the model's name, the last asked last


def inference_handler(data, model_name):
    process, gone = _process(model_name)
    for one in gone:
        one.shutdown()  # when it has answered what it was asked
    try:
        return process.submit(model_process.answer, data).result()
    except BrokenProcessPool:
        _forget(model_name, process)  # the next who asks gets another
        raise


def _process(name):
    """The model's process, which loads it before it answers, and those that have to make room for it."""
    with _lock:
        if name not in _processes:
            folder = model_process.folder_of(name)
            _processes[name] = ProcessPoolExecutor(1, get_context("spawn"), model_process.load, (folder,))
        _processes.move_to_end(name)
        gone = [_processes.popitem(last=False)[1] for _ in range(len(_processes) - MOST)]
        return _processes[name], gone


def _forget(name, process):
    with _lock:
        if _processes.get(name) is process:
            del _processes[name]
