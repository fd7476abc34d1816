# Speaks MCP over stdio: docker run -i --init dragoman
# It has the embedded model. To add a CLI: FROM dragoman, USER root, install it, USER dragoman.
FROM python:3.13-slim

WORKDIR /opt/dragoman
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt '.[local]' \
    && useradd --create-home dragoman

USER dragoman
WORKDIR /home/dragoman
ENTRYPOINT ["dragoman"]
CMD ["serve"]
