"""A script that saves models as people do, by a TensorFlow that need not be ours: `python saving.py FOLDER`.

Each model lies in ``FOLDER/<name>/model/1``, and beside it, in `asked.json`, an instance and its answer. `half_plus_two`,
`half_plus_three` and `counter` have the variables and signatures of TensorFlow Serving's own test models of those names.
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


def parse(examples: Any, **defaults: Any) -> list[Any]:
    """The features of serialised examples, a column each."""
    features = {key: v1.FixedLenFeature([1], tf.float32, default) for key, default in defaults.items()}
    parsed = v1.parse_example(examples, features)
    for column in parsed.values():
        column.set_shape([None, 1])
    return [tf.identity(parsed[name], name=name) for name in defaults]


def use_asset(path: str) -> Any:
    """Add an asset to the graph, as TensorFlow 1 has it; an operation that assigns its path to a variable."""
    asset = tf.constant(path)
    v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
    variable = v1.Variable("not restored", name="filename_tensor", use_resource=False, collections=[])
    return v1.group(v1.assign(variable, asset))


def save_half_plus_two(folder: str, asset: str) -> Asked:
    """x / 2 + 2 of a variable of TensorFlow 1, by each method of TensorFlow Serving."""
    with tf.Graph().as_default(), v1.Session() as session:
        a, a2, b, c, c2 = (number(*one) for one in [("a", 0.5), ("a2", 0.5), ("b", 2.0), ("c", 3.0), ("c2", 3.0)])
        examples = v1.placeholder(tf.string, name="tf_example")
        x, x2 = parse(examples, x=None, x2=[0.0])
        y, y2 = tf.identity(a * x + b, name="y"), tf.identity(a * x + c, name="y2")
        y3 = tf.identity(a2 * x2 + c2, name="y3")
        signatures = {
            "serving_default": described("predict", {"x": x}, {"y": y}),
            "regress_x_to_y": described("regress", {"inputs": examples}, {"outputs": y}),
            "regress_x_to_y2": described("regress", {"inputs": examples}, {"outputs": y2}),
            "regress_x2_to_y3": described("regress", {"inputs": x2}, {"outputs": y3}),
            "classify_x_to_y": described("classify", {"inputs": examples}, {"scores": y}),
        }
        build(session, folder, signatures, main_op=use_asset(asset))
    return [1.0], [2.5]


def save_half_plus_three(folder: str, asset: str) -> Asked:
    """x / 2 + 3: its signatures have no shapes, and one says that its strings are floats, as the original's do."""
    with tf.Graph().as_default(), v1.Session() as session:
        a, b, _ = number("a", 0.5), number("b", 3.0), number("c", 3.0)
        examples = v1.placeholder(tf.string, name="tf_example")
        (x,) = parse(examples, x=None)
        y = tf.add(a * x, b, name="y")
        signatures = {
            "serving_default": described("predict", {"x": x}, {"y": y}),
            "tensorflow/serving/regress": described("regress", {"inputs": examples}, {"outputs": tf.identity(y)}),
        }
        for signature in signatures.values():
            for info in (*signature.inputs.values(), *signature.outputs.values()):
                info.dtype = tf.float32.as_datatype_enum
                info.tensor_shape.Clear()
        v1.add_to_collection("legacy_init_op", use_asset(asset))
        build(session, folder, signatures)
    return 1.0, 3.5


def save_counter(folder: str) -> Asked:
    """A variable that requests change; the instance is the `delta` of `incr_counter_by`."""
    with tf.Graph().as_default(), v1.Session() as session:
        counter, delta = number("counter", 0.0), v1.placeholder(tf.float32, name="delta")
        operations = {
            "get_counter": ({}, counter._ref()),
            "incr_counter": ({}, v1.assign_add(counter, 1.0)),
            "incr_counter_by": ({"delta": delta}, v1.assign_add(counter, delta)),
            "reset_counter": ({}, v1.assign(counter, 0.0)),
        }
        signatures = {name: described("predict", fed, {"output": y}) for name, (fed, y) in operations.items()}
        build(session, folder, signatures)
    return 5.0, 5.0


def number(name: str, value: float) -> Any:
    """A variable as TensorFlow 1 has it: an operation `VariableV2` that gives a reference."""
    return v1.Variable(value, name=name, use_resource=False)


def described(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    """A signature of a method of TensorFlow Serving."""
    fed, given = (
        {name: v1.saved_model.build_tensor_info(of) for name, of in some.items()} for some in (inputs, outputs)
    )
    return v1.saved_model.build_signature_def(fed, given, f"tensorflow/serving/{method}")


def build(session: Any, folder: str, signatures: dict[str, Any], **operations: Any) -> None:
    """Save the graph with its assets, and its variables in shards."""
    session.run(v1.global_variables_initializer())
    assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
    builder = v1.saved_model.Builder(folder)
    saver = v1.train.Saver(sharded=True)
    builder.add_meta_graph_and_variables(
        session, ["serve"], signatures, assets_collection=assets, saver=saver, **operations
    )
    builder.save()


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
    "half_plus_two": save_half_plus_two,
    "half_plus_three": save_half_plus_three,
    "counter": lambda folder, _: save_counter(folder),
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
    """Save all of them, and which TensorFlow did."""
    (folder / "version").write_text(tf.__version__)
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    for name, save in SAVED.items():
        place = folder / name
        place.mkdir()
        instance, answer = save(str(place / "model" / "1"), str(vocabulary))
        (place / "asked.json").write_text(json.dumps({"instance": instance, "answer": np.asarray(answer).tolist()}))
    vocabulary.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
