"""What a batch of searches costs, learnt from those that were done."""

MEMORY = 0.9
"""Weight of what was seen one batch ago against the batch that has just been done."""
USUAL = 0.1
"""Cost of a row as a share of what its search costs anyway, as long as all batches are of one size."""
TRUST = 1.0
"""Weight of that share against the batches that were seen."""
SAFETY = 0.8
"""Share of the time until its deadline within which a request is expected to be answered, or else refused."""
MANY = 1_000_000
"""More rows than any batch has."""


class Cost:
    """Seconds of a batch: `fixed` for each of its searches and `each` for each of its rows,

        seconds = fixed * searches + each * rows,   fixed, each >= 0,

    fitted by least squares over the batches seen, of which older ones count less:

        sum_i MEMORY^(age of i) * (seconds_i - fixed * searches_i - each * rows_i)^2 + TRUST * (each - USUAL * fixed)^2

    The last term decides where the batches cannot: from batches of one row alone, nothing is known about larger ones,
    and who took their cost for that of as many single rows would refuse the very batches that show it.

    mix: how many further searches a further row brings, from 0 (all rows ask alike) to 1 (no two do).
    """

    def __init__(self) -> None:
        self.fixed = self.each = self.mix = 0.0
        self._searches2 = self._both = self._rows2 = self._searches_seconds = self._rows_seconds = 0.0

    def saw(self, searches: int, rows: int, seconds: float) -> None:
        """Learn from a batch that was done."""
        self._searches2 = MEMORY * self._searches2 + searches * searches
        self._both = MEMORY * self._both + searches * rows
        self._rows2 = MEMORY * self._rows2 + rows * rows
        self._searches_seconds = MEMORY * self._searches_seconds + searches * seconds
        self._rows_seconds = MEMORY * self._rows_seconds + rows * seconds
        if rows > 1:
            self.mix += (1 - MEMORY) * ((searches - 1) / (rows - 1) - self.mix)
        self._fit()

    def _fit(self) -> None:
        a, b, c = self._searches2 + TRUST * USUAL**2, self._both - TRUST * USUAL, self._rows2 + TRUST
        y, z = self._searches_seconds, self._rows_seconds
        fixed, each = (c * y - b * z) / (a * c - b * b), (a * z - b * y) / (a * c - b * b)
        if fixed < 0:
            fixed, each = 0.0, z / c
        elif each < 0:
            fixed, each = y / a, 0.0
        self.fixed, self.each = fixed, each

    def of(self, rows: int) -> float:
        """Seconds of a batch of so many rows; 0 for none."""
        return self.fixed * (1 + (rows - 1) * self.mix) + self.each * rows if rows else 0.0

    def rows_within(self, seconds: float) -> int:
        """The most rows that a batch has which is done after so many seconds; 0 where not one is."""
        each = self.fixed * self.mix + self.each
        over = seconds - self.of(1)
        return 0 if over < 0 else 1 + int(min(over / each, MANY) if each > 0 else MANY)

    def size(self, allowed: float) -> int:
        """The most rows of a batch whose rows have so many seconds until their deadlines. Who comes when a batch has
        just begun waits for it and for the next, so that each may take half of the time; where a single row takes
        longer than that, it may take all of it.
        """
        return self.rows_within(SAFETY * allowed / 2) or self.rows_within(SAFETY * allowed) or 1
