# docker build -t athena . && docker run --rm athena                    the main job
# docker run --rm -v athena-work:/work athena athena runs show last     runs are kept in /work
FROM python:3.12-slim AS base
WORKDIR /athena
COPY constraints.txt .
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache -c constraints.txt torch --torch-backend=cpu

FROM base AS build
COPY . .
RUN pip wheel --no-cache-dir --no-deps -w /wheels .

# The image itself: the wheel and what it needs, no source, no test packages, no root.
FROM base
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir -c constraints.txt /wheels/*.whl
RUN useradd --create-home --uid 1000 athena && mkdir /work && chown athena /work
USER athena
WORKDIR /work
VOLUME /work
CMD ["athena", "backtest"]
