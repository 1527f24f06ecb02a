"""Training recipes that use several distillers in sequence."""
