"""A script that saves models as people do, by a TensorFlow that need not be ours: `python exports.py FOLDER`.

Each model lies in ``FOLDER/<name>/model/1``, and beside it, in `asked.json`, an instance and its answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
WORDS = ["red", "green", "blue"]
SEQUENCE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
COLUMNS = (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
VECTOR, STRINGS = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.string)
Asked = tuple[Any, Any]
"""An instance and its answer."""


def save_tensorflow_1(folder: str, vocabulary: str, *, initialised: bool) -> Asked:
    """A vocabulary, whose path is in a collection, and an embedding that lies in two parts."""
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None], name="words")
        table = tf.lookup.StaticVocabularyTable(tf.lookup.TextFileInitializer(vocabulary, *COLUMNS), 1)
        with v1.variable_scope("embedding", partitioner=v1.fixed_size_partitioner(2)):
            embedding = v1.get_variable("rows", [4, 3], use_resource=False)
        y = tf.nn.embedding_lookup(embedding, table.lookup(words))
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        answers = session.run(y, {words: ["green"]})
        init = v1.tables_initializer() if initialised else None
        v1.saved_model.simple_save(session, folder, {"words": words}, {"y": y}, legacy_init_op=init)
    return "green", answers[0]


def save_lstm(folder: str, *, export: bool) -> Asked:
    """By Keras itself, or as any other object."""
    model = tf.keras.Sequential([tf.keras.Input((3, 2)), tf.keras.layers.LSTM(4), tf.keras.layers.Dense(1)])
    if export:
        model.export(folder)
    else:
        tf.saved_model.save(model, folder)
    return SEQUENCE, model(np.array([SEQUENCE], np.float32))[0]


def save_wide(folder: str) -> Asked:
    """A Keras model with one MiB of weights."""
    model = tf.keras.Sequential([tf.keras.Input((512,)), tf.keras.layers.Dense(512, use_bias=False)])
    model.export(folder)
    return [1.0] * 512, model(np.ones([1, 512], np.float32))[0]


def save_lookup(folder: str, vocabulary: str) -> Asked:
    """A layer that reads a vocabulary."""
    layer = tf.keras.layers.StringLookup(vocabulary=vocabulary)
    model = tf.keras.Sequential([tf.keras.Input((1,), dtype=tf.string), layer])
    tf.saved_model.save(model, folder)
    return ["green"], [2]


def save_asset(folder: str, vocabulary: str, *, read: bool) -> Asked:
    """A model that tracks an asset, and reads it or does not."""
    asset = tf.saved_model.Asset(vocabulary)

    def length() -> Any:
        return tf.cast(tf.strings.length(tf.io.read_file(asset)), tf.float32)

    return save_function(folder, lambda x: x + (length() if read else 0), asset=asset)


def save_function(
    folder: str, function: Any, *, compiled: bool = False, asset: Any = None, of: Any = VECTOR, instance: Any = 1.0
) -> Asked:
    """A module with a function of a vector."""
    module = tf.Module()
    module.asset = asset
    module.f = tf.function(lambda x: {"y": function(x)}, input_signature=[of], jit_compile=compiled or None)
    tf.saved_model.save(module, folder, signatures=module.f)
    return instance, module.f(tf.constant([instance]))["y"][0]


def rewritten(x: Any) -> Any:
    """An operation without a kernel of its own: the runtime rewrites it."""
    return tf.raw_ops.AccumulateNV2(inputs=[x, x], shape=[1])


SAVED: dict[str, Callable[[str, str], Asked]] = {
    "tables_of_tensorflow_1": lambda folder, words: save_tensorflow_1(folder, words, initialised=True),
    "tables_that_nothing_fills": lambda folder, words: save_tensorflow_1(folder, words, initialised=False),
    "lstm_exported": lambda folder, _: save_lstm(folder, export=True),
    "lstm_saved": lambda folder, _: save_lstm(folder, export=False),
    "wide": lambda folder, _: save_wide(folder),
    "lookup": save_lookup,
    "unread_asset": lambda folder, words: save_asset(folder, words, read=False),
    "read_asset": lambda folder, words: save_asset(folder, words, read=True),
    "rewritten": lambda folder, _: save_function(folder, rewritten),
    "dice": lambda folder, _: save_function(folder, lambda x: x + tf.random.uniform(tf.shape(x))),
    "numbers": lambda folder, _: save_function(folder, tf.strings.to_number, of=STRINGS, instance="1.5"),
    "compiled": lambda folder, _: save_function(folder, lambda x: tf.math.cumsum(x) * 2, compiled=True),
}


def main(folder: Path) -> None:
    """Save all of them."""
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    for name, save in SAVED.items():
        place = folder / name
        place.mkdir()
        instance, answer = save(str(place / "model" / "1"), str(vocabulary))
        (place / "asked.json").write_text(json.dumps({"instance": instance, "answer": np.asarray(answer).tolist()}))
    vocabulary.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
