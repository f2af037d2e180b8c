"""The five agents, and the place where a run is assembled from a configuration."""
