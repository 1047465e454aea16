"""What can be trained: a method owns its parts, a family of methods is a file, and `table` names them all."""
