"""Hands of a video: read, tracked, linked over time, smoothed, written."""
