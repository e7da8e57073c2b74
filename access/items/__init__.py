"""STAC items judged here: areas, instants, queries, filters, hrefs; a raw item becomes a scene."""
