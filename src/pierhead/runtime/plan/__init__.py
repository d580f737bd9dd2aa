"""Plans: pure functions from configuration and facts to what shall be done, as values."""
