"""A user's own recordings, in the formats that laboratories have."""
