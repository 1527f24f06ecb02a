"""Results as tables in notebooks."""
