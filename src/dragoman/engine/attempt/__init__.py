"""One attempt: a program is started for a question, spoken with, and stopped."""
