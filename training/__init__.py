"""Training of the demo model and of memory modules for a frozen base."""
