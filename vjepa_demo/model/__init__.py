"""A `Clip` becomes tokens: checkpoints, and the encoder that runs them."""
