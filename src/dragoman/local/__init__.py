"""The embedded default: a small real model that answers through the real `llm` CLI, with no login and no key.

`weights` fetches the model once, `llm_plugin` makes it a model of `llm`, and ``python -m dragoman.local prompt`` is the
child that the ``local`` provider starts. Nothing is fetched at import.
"""
