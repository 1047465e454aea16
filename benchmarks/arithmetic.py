"""The multiply-adds that encoding, decoding and training need: the floor under every time that is measured here.

Counted are the matrix products over real positions and real targets, and nothing else: no padding, no norms, no
softmax, no embedding lookups, no search. Divided by the machine's own peak they give the least time there is.

M: positions of a history (items times codes per item where codes are encoded). D: width. A: heads times head width.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sidestep.generators.encoder_decoder import GeneratorConfig


@dataclass(frozen=True)
class Arithmetic:
    """Multiply-adds of a generator of one shape; with `thoughts`, of S2GR instead of TIGER.

    cheaper_cross: cross-attention in the cheaper of its two equal forms. Scores x W_q (m W_k)' can be taken as
        x (W_q W_k' m'), with the projections moved to the M positions, once per user; the same holds for the outputs.
        Otherwise the textbook's form.
    """

    config: GeneratorConfig
    num_levels: int
    codebook_size: int
    thoughts: bool = False
    cheaper_cross: bool = False
    interest_layers: int = 2

    @property
    def heads(self) -> int:
        return self.config.num_heads * self.config.head_width

    def positions(self, items: int) -> int:
        return items * (self.num_levels if self.config.history == "codes" else 1)

    def encode(self, items: int) -> int:
        """One history: four projections and the feed-forward for each position, and every pair of positions (that may
        see each other) once in the scores and once in the mixture.
        """
        config, M = self.config, self.positions(items)
        pairs = M * M if config.encoder == "bidirectional" else M * (M + 1) // 2
        layer = M * (4 * config.width * self.heads + 2 * config.width * config.inner) + 2 * pairs * self.heads
        project = items * self.num_levels * config.width**2 if config.history == "items" else 0
        return project + config.encoder_layers * layer

    def look(self, M: int, queries: Iterable[int]) -> int:
        """Cross-attention of one layer: `queries` positions of the decoder look at that many of the M positions."""
        D, A, H = self.config.width, self.heads, self.config.num_heads
        seen = list(queries)
        textbook = 2 * M * D * A + len(seen) * 2 * D * A + sum(2 * A * visible for visible in seen)
        moved = 4 * M * D * A + sum(2 * H * D * visible for visible in seen)
        return min(textbook, moved) if self.cheaper_cross else textbook

    def token(self, past: int) -> int:
        """One token through one layer of the decoder, without cross-attention; it sees `past` tokens and itself."""
        D, A = self.config.width, self.heads
        return 4 * D * A + 2 * D * self.config.inner + 2 * A * (past + 1)

    def decode(self, items: int, num_beams: int) -> int:
        """One user's plain search: 1 + (L - 1) W tokens for TIGER, 2 + 2 (L - 1) W for S2GR, logits over the whole
        codebook wherever a code is said. Before the first code all beams are one.
        """
        beams = [1] + [num_beams] * (self.num_levels - 1)
        per_level = 2 if self.thoughts else 1
        rows = [(width, level * per_level + place) for level, width in enumerate(beams) for place in range(per_level)]
        M = self.positions(items)
        tokens = sum(width * self.token(past) for width, past in rows)
        looks = self.look(M, [M] * sum(width for width, _ in rows))
        logits = sum(beams) * self.config.width * self.codebook_size
        return self.encode(items) + self.config.decoder_layers * (tokens + looks) + logits

    def look_back(self, retrieved: int, num_beams: int) -> int:
        """What GLASS adds to a search: at every code after the first each beam's second cross-attention sees so many
        older items, whose keys and values belong to the catalogue, and the encoder reads one position more.
        """
        one = 2 * self.config.width * self.heads + 2 * self.heads * retrieved
        tier = self.encode(1)
        return tier + self.config.decoder_layers * (self.num_levels - 1) * num_beams * one

    def train(self, items: int, visible: Iterable[int]) -> int:
        """One training history with its targets, each of which sees so many items: forward, and twice as much
        backward (a gradient to the inputs and one to the weights). The optimiser multiplies no matrices.

        S2GR reads 2 L tokens for a target instead of L, and has the light decoder of eq. 19 with one token.
        """
        seen = [self.positions(sight) for sight in visible]
        tokens = self.num_levels * (2 if self.thoughts else 1)
        M = self.positions(items)
        reads = len(seen) * sum(self.token(past) for past in range(tokens))
        looks = self.look(M, [sight for sight in seen for _ in range(tokens)])
        logits = len(seen) * self.num_levels * self.config.width * self.codebook_size
        interest = self.interest_layers * (len(seen) * self.token(0) + self.look(M, seen)) if self.thoughts else 0
        forward = self.encode(items) + self.config.decoder_layers * (reads + looks) + logits + interest
        return 3 * forward
