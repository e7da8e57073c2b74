"""Rasterloom."""
