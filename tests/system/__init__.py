"""Several servers, each a process of its own, on one broker, while things break."""
