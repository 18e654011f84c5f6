"""The fault drill, for `manage.py drill`: campaigns run while everything around them is killed."""
