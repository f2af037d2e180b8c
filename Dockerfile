# docker build -t athena . && docker run --rm athena                         the main job
# docker run --rm athena python3 -m pytest tests/ -q                         the tests
FROM python:3.12-slim

WORKDIR /athena
COPY . .
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache 'torch>=2.6,<2.14' --torch-backend=cpu
RUN pip install --no-cache-dir -e '.[test]'

CMD ["athena", "backtest"]
