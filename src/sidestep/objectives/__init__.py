"""One function a method: what is minimised, and what is worth logging."""
