"""Pure equations on tensors, each with its paper and number. They import nothing of ours; any module may use them."""
