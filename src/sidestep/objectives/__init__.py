"""One function per method: its losses and the figures for the log."""
