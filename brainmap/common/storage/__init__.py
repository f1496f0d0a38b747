"""What lies on disk: written whole or not at all, locked, digested, and its faults told in one sentence."""
