"""The steps of a build, from a plan to a commit. `rasterloom.access.build` is what tasks call."""
