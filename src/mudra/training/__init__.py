"""Training: losses, optimisers, schedules, mixing and the loop that joins them."""
