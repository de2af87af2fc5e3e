"""An `Embedding` becomes something to see."""
