"""From `auth` of a spec to what opens places. Secrets are looked up here and kept in memory alone."""
