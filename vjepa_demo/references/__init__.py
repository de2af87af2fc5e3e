"""Clips with vectors, and where another clip lies among them."""
