"""Stand-ins for what Dragoman reaches over the network."""
