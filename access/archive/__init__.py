"""The files that an archive serves: stores by origin, ranged transfers, the header stage, documents of catalogs."""
