"""Teacher outputs on disk, computed once and joined to a data set."""
