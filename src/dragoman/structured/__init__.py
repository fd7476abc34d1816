"""Structured answers: schemas, what is said about them, finding JSON in an answer, judging it. No I/O."""
