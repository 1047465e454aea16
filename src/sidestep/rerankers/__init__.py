"""Second looks: what puts a few candidates of a recommender in a better order."""
