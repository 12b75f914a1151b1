"""Trained networks after their run: loading, accuracy on any images, export."""
