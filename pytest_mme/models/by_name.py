"""A name where a model is wanted: what servers and endpoints make of it."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_mme.errors import shown
from pytest_mme.models.builder import Model

_SUFFIX = ".tar.gz"


def by_name(model: Model | str, known: Mapping[str, Model], owner: str) -> Model:
    """Return *model* itself, or the one of *known* that has that name, with or without ``.tar.gz``.

    *owner*: the server or endpoint that knows these models, for the message. Raises TypeError for a name that is not
    known, and for what is neither a model nor a name.
    """
    if isinstance(model, Model):
        return model
    names = ", ".join(known) or "none yet"
    if not isinstance(model, str):
        raise TypeError(
            f"{owner} was given {shown(model)}, which is not a model: give a model, as mme_models makes it, "
            f"or the name of one that {owner} knows: {names}"
        )
    found = known.get(model.removesuffix(_SUFFIX))
    if found is None:
        raise TypeError(
            f"{owner} knows no model called {shown(model)}; it knows: {names}. "
            "Give one of these names, or a model, as mme_models makes it"
        )
    return found
