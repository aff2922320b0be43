"""The core's pure-Python model, and the tests that compare the two."""
