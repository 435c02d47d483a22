"""Arriving files as typed records: what every platform's loading shares, so that all judge a record alike."""
