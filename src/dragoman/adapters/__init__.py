"""What knows one CLI each: its command line, its output, its failures. Pure; the engine does all I/O."""
