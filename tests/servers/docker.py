"""A stand-in for docker: a daemon that MLflow's docker client and a command `docker` talk to.

Images are names with ids. A container is a process of this one, so that it is no descendant of who asked for it, with
the variables of `-e` and with the paths of `-v` put back to those of the host.
"""

import json
import os
import shlex
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_COMMAND = """\
#!{python} -IS
import http.client, json, os, socket, sys

words = sys.argv[1:]
connection = http.client.HTTPConnection("docker")
connection.sock = socket.socket(socket.AF_UNIX)
try:
    connection.sock.connect({address!r})
    connection.request("POST", "/command", json.dumps({{"words": words, "folder": os.getcwd()}}))
    answer = json.load(connection.getresponse())
except OSError:
    answer = {{"out": "", "error": "Cannot connect to the Docker daemon. Is the docker daemon running?", "code": 1}}
sys.stdout.write(answer["out"])
sys.stderr.write(answer["error"])
sys.exit(answer["code"])
"""


class Docker:
    """A docker daemon on a socket in `folder`, and a command `docker` in `folder/bin`.

    Attributes:
        images: The ids of the images that it has, by name.
        registry: The ids of those that it can pull.
        containers: The commands that were run in containers.
    """

    def __init__(self, folder: Path) -> None:
        self.images: dict[str, str] = {}
        self.registry: dict[str, str] = {}
        self.containers: list[list[str]] = []
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.address = folder / "docker.sock"
        self._server: _Server | None = None
        command = self.bin / "docker"
        command.write_text(_COMMAND.format(python=sys.executable, address=str(self.address)))
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    @property
    def url(self) -> str:
        """The value of DOCKER_HOST."""
        return f"unix://{self.address}"

    def start(self) -> None:
        self._server = _Server(str(self.address), self)
        threading.Thread(target=self._server.serve_forever, name="docker", daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with suppress(FileNotFoundError):
            self.address.unlink()

    def run(self, words: list[str], folder: str) -> tuple[str, str, int]:
        """Execute a command line of docker; return its output, its errors and its exit code."""
        match words:
            case ["info", *_]:
                return "28.0.0\n", "", 0
            case ["image", "inspect", "--format", "{{.Id}}", name]:
                found = self.images.get(name)
                return (f"{found}\n", "", 0) if found else ("", f"No such image: {name}\n", 1)
            case ["pull", name] if name in self.registry:
                self.images[name] = self.registry[name]
                return f"{name}: pulled\n", "", 0
            case ["pull", name]:
                return "", f"manifest for {name} not found\n", 1
            case ["run", "--rm", *rest]:
                return self._container(rest, folder)
        return "", f"unknown command: docker {shlex.join(words)}\n", 125

    def _container(self, words: list[str], folder: str) -> tuple[str, str, int]:
        variables, mounted = {}, {}
        while words[0].startswith("-"):
            option, value, *words = words
            if option == "-e":
                name, _, text = value.partition("=")
                variables[name] = text
            elif option == "-v":
                outside, inside = value.split(":")[:2]
                mounted[inside] = outside
        image, *command = words
        if image not in self.images:
            return "", f"Unable to find image {image}\n", 125
        self.containers.append(command)
        for inside, outside in mounted.items():
            variables = {name: text.replace(inside, outside) for name, text in variables.items()}
        path = os.pathsep.join([os.path.dirname(sys.executable), os.defpath])
        done = subprocess.run(
            command, cwd=folder, env={"PATH": path, **variables}, capture_output=True, text=True, check=False
        )
        return done.stdout, done.stderr, done.returncode


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def __init__(self, address: str, docker: Docker) -> None:
        super().__init__(address, _Handler)
        self.docker = docker


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def address_string(self) -> str:
        return "docker"

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        images, address = self.server.docker.images, urlsplit(self.path)
        place = unquote(address.path)
        if place.endswith("/version"):
            return self._answer({"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "28.0.0"})
        if place.endswith("/images/json"):
            wanted = json.loads(parse_qs(address.query).get("filters", ["{}"])[0]).get("reference", [])
            return self._answer([_shown(name, images[name]) for name in images if name in wanted])
        asked = place.partition("/images/")[2].removesuffix("/json")
        for name, image_id in images.items():
            if asked in (name, image_id):
                return self._answer(_shown(name, image_id))
        self._answer({"message": f"No such image: {asked}"}, 404)

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        out, error, code = self.server.docker.run(content["words"], content["folder"])
        self._answer({"out": out, "error": error, "code": code})

    def _answer(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _shown(name: str, image_id: str) -> dict[str, Any]:
    return {"Id": image_id, "RepoTags": [name]}
