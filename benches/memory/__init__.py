"""Parts of the memory suite: idle clients, and what is measured inside one process."""
