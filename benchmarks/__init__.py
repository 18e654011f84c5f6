"""Measurements of kaireon against what its database could do at best; not part of the product."""
