"""Measurements, and what we compare them with; run from the checkout."""
