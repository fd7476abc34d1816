"""The layers around an attempt: each is a function around the next one, see `dragoman.engine.context.Handler`."""
