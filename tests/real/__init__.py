"""Tests that start the real CLIs, each against the fake model API."""
