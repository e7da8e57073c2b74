"""Where items come from: APIs, static catalogs, tables, collections; page by page."""
