# One image for web, worker and beat; only the command differs (see compose.yaml).

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
RUN /opt/venv/bin/pip install --require-hashes -r /tmp/requirements.txt

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 KAIREON_ENV=production
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin kaireon \
 && install -d -o kaireon /storage /app/var
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY kaireon kaireon
COPY campaigns campaigns
COPY executor executor
COPY templates templates
# These values serve this one command and are not kept.
RUN SECRET_KEY=unused API_KEY_PEPPER=unused ALLOWED_HOSTS=unused \
    DATABASE_URL=postgresql://unused@unused/unused python manage.py collectstatic --noinput
USER 10001
EXPOSE 8000
CMD ["gunicorn", "kaireon.wsgi", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "4", "--no-control-socket", "--worker-tmp-dir", "/dev/shm"]
