"""Helpers that every package of this project may import and that import none of them."""
