"""The providers of this machine: which are there, where their programs are, and which one answers."""
