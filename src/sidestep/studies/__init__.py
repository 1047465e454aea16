"""Tables of cells: one recipe, varied row by row and seed by seed, every cell a run folder of its own."""
