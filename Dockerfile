# The app on a machine of one's own, on a CPU and on NVIDIA's GPUs: README, "On a machine of your own".
FROM python:3.12.12-slim-bookworm

# torchcodec loads FFmpeg's shared libraries.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*

# First, since they change seldom. PyTorch's package brings CUDA's libraries along: only the driver is the machine's.
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock

# Checkpoints, vectors and compiled functions outlive the container where /cache is a volume. Nothing else is written but
# below /tmp: `--read-only --tmpfs /tmp` works.
ENV PYTHONUNBUFFERED=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HOME=/cache/huggingface \
    NUMBA_CACHE_DIR=/cache/numba \
    VJEPA_DEMO_CACHE_DIR=/cache/vjepa-demo \
    VJEPA_DEMO_SERVER_NAME=0.0.0.0 \
    VJEPA_DEMO_PORT=7860 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --uid 1000 --create-home explorer \
    && install -d -o explorer -g explorer /cache
VOLUME /cache

COPY app.py ./
COPY vjepa_demo ./vjepa_demo
COPY assets ./assets
RUN python -m compileall -q vjepa_demo

USER explorer
EXPOSE 7860
# A first start reads PyTorch from a cold disk, and on a GPU it may have to fetch its checkpoint.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10m CMD ["python", "-c", "\
import http.client, os; \
asked = http.client.HTTPConnection('localhost', int(os.environ['VJEPA_DEMO_PORT']), timeout=8); \
asked.request('GET', '/health'); \
assert asked.getresponse().status == 200"]
CMD ["python", "app.py"]
