"""Calls that can be fetched by their id, also when the server that began them is gone."""
