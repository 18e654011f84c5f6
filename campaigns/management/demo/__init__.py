"""A believable made-up bank, for `manage.py demo`."""
