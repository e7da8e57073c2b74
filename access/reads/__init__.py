"""Read jobs of a spec: what they make of a collection's pixels, in units that are remembered, committed as one."""
