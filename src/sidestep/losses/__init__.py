"""Pure equations on tensors, each with its paper and number. They import nothing of ours, and anyone may call them."""
