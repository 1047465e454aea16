"""What it takes when one machine is outgrown."""
