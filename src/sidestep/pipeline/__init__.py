"""From a log to a recommender: a run folder and the stages that fill it."""
