"""Measurements, and what they are held against; run from the checkout."""
