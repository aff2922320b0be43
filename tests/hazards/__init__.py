"""What must be impossible by design, each with a test that fails without the cure."""
