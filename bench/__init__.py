"""Streams of replies to measure on, and what measures."""
