"""The WSGI application that gunicorn serves."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from kaireon.database.base import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")

application = get_wsgi_application()
# Not for workers and commands: freezing a big segment is one long statement.
limit_statements(settings.KAIREON_STATEMENT_SECONDS)
