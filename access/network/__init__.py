"""Requests to hosts that nobody here vouches for: addresses, redirects, turns, deadlines, retries; and foreign errors as ours."""
