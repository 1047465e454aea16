"""What a test does in processes of its own. They import it by name, so it stands in a module that they can find."""

from pathlib import Path

import torch
from torch import distributed, nn

from sidestep.sids.codebook import Codebook, Reset


def reset_in_one_of_two(rank: int, folder: str) -> None:
    """One training batch of a codebook with a dead code, the worst served input another in each process; writes the
    codewords afterwards.
    """
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    book = Codebook(2, 1, dead_codes=Reset(1))
    book.codewords.data.copy_(torch.tensor([[0.0], [99.0]]))
    level = nn.parallel.DistributedDataParallel(book)
    level(torch.tensor([[3.0 + rank], [1.0]]))[1].sum().backward()
    (Path(folder) / str(rank)).write_text(str(book.codewords.flatten().tolist()))
    distributed.barrier()
    distributed.destroy_process_group()
