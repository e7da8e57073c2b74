"""What a workspace remembers beside its collections: staged batches, scenes, headers."""
