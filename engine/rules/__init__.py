"""What is allowed: pure functions on frozen values. No SQL, no network, no clock, no randomness."""
