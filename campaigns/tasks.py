"""What beat sends: look which campaigns are due."""

from campaigns.services import pulse as scheduler
from kaireon.celery import app


# A pulse that waited for a worker until the next one comes is not needed.
@app.task(expires=15)
def pulse() -> None:
    scheduler.pulse()
