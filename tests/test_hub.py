"""Finding, fetching and publishing models, against a server on this machine that speaks as the Hub does."""

import base64
import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_models import flip_last_bit, make_model

from hvgcli import hub
from hvgcli.checkpoints import model_sha, verify
from hvgcli.errors import HvgError, OutputExistsError, UsageError, WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """The few addresses of the Hub that a pull and a push use, for the files in `server.files`."""

    protocol_version = "HTTP/1.1"

    def answer(self, body: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, data: object, code: int = 200, **headers: str) -> None:
        self.answer(json.dumps(data).encode(), code, Content_Type="application/json", **headers)

    def handle_read(self) -> None:
        files, path = self.server.files, self.path.partition("?")[0]
        if self.server.refuse:
            self.answer_json({"error": "no"}, self.server.refuse[0], X_Error_Code=self.server.refuse[1])
        elif path.startswith("/api/models/me/mini/revision/"):
            self.answer_json({"id": "me/mini", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        elif path.startswith("/api/models/me/mini/tree/"):
            oids = {name: hashlib.sha1(data).hexdigest() for name, data in files.items()}
            tree = [{"type": "file", "path": n, "size": len(d), "oid": oids[n]} for n, d in files.items()]
            self.answer_json(tree)
        elif path.startswith(f"/me/mini/resolve/{COMMIT}/"):
            data = files[path.rsplit("/", 1)[1]]
            self.answer(data, ETag=f'"{hashlib.sha1(data).hexdigest()}"')
        else:
            self.answer_json({"error": "not found"}, 404, X_Error_Code="RepoNotFound")

    do_GET = do_HEAD = handle_read

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, body))
        if self.server.refuse:
            self.answer_json({"error": "no"}, self.server.refuse[0], X_Error_Code=self.server.refuse[1])
        elif self.path == "/api/repos/create":
            self.answer_json({"url": f"{self.server.address}/me/mini"})
        elif self.path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif self.path.startswith("/api/models/me/mini/preupload/"):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in names]
            self.answer_json({"files": modes})
        elif self.path.startswith("/api/models/me/mini/commit/"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer_json({"commitUrl": f"{self.server.address}/me/mini/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self.answer_json({"error": "not found"}, 404)

    def log_message(self, *args: object) -> None:
        """Nothing: the server is part of a test."""


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.posts, running.refuse = {}, [], None
        running.address = f"http://127.0.0.1:{running.server_address[1]}"
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def served(server, tiny_model):
    server.files.update({path.name: path.read_bytes() for path in tiny_model.iterdir()})
    return server


def leftovers(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache / "models")) for path in (cache / "models").glob("*"))


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- pull and push over HTTP -------------------------------------------------------------------


def test_pull_from_the_hub(served, own_cache, tiny_model):
    served.files["train.py"] = b"print('never fetched')"
    served.files["nested/more.json"] = b"{}"
    path = hub.pull("me/mini")
    assert path == own_cache / "models" / "me%2Fmini"
    assert sorted(p.name for p in path.iterdir()) == sorted(p.name for p in tiny_model.iterdir())
    assert all(check.ok for check in verify(path))
    assert hub.resolve("me/mini") == path
    assert leftovers(own_cache) == ["me%2Fmini"]


def test_pull_of_a_revision_has_its_own_name(served):
    hub.pull("me/mini@v1")
    hub.pull("me/mini", "refs/pr/3")
    assert list(hub.cached()) == ["me/mini@refs/pr/3", "me/mini@v1"]
    assert hub.resolve("me/mini@v1").is_dir()
    with pytest.raises(WeightsError, match="hvg models pull me/mini"):
        hub.resolve("me/mini")


def test_resolve_fetches_only_when_allowed(served):
    with pytest.raises(WeightsError, match="fetch it with: hvg models pull me/mini"):
        hub.resolve("me/mini")
    assert hub.resolve("me/mini", offline=False) == hub.resolve("me/mini")


def test_plan_changes_nothing(served, own_cache, tiny_model):
    plan = hub.plan_pull("me/mini")
    assert plan.files == {path.name: path.stat().st_size for path in tiny_model.iterdir()}
    assert plan.name == "me/mini"
    assert not own_cache.exists()


def test_tampered_file_is_not_taken(served, own_cache):
    served.files["level2.safetensors"] = served.files["level2.safetensors"][:-1] + b"\x01"
    with pytest.raises(WeightsError, match=r"damaged.*level2\.safetensors does not match") as error:
        hub.pull("me/mini")
    one_line(error)
    assert leftovers(own_cache) == []


def test_cut_off_file_is_not_taken_and_the_old_one_stays(served, own_cache):
    old = model_sha(hub.pull("me/mini"))
    served.files["level1.safetensors"] = served.files["level1.safetensors"][:60]
    with pytest.raises(WeightsError, match=r"level1\.safetensors has 60 bytes") as error:
        hub.pull("me/mini")
    one_line(error)
    assert leftovers(own_cache) == ["me%2Fmini"]
    assert model_sha(hub.resolve("me/mini")) == old


def test_files_without_checksums_are_not_taken(served, own_cache):
    del served.files["checksums.json"]
    with pytest.raises(WeightsError, match="not a model of hvg"):
        hub.pull("me/mini")
    assert leftovers(own_cache) == []


def test_pull_again_replaces(served, tmp_path):
    first = model_sha(hub.pull("me/mini"))
    other = make_model(tmp_path / "other", source_rate="30")
    served.files.update({path.name: path.read_bytes() for path in other.iterdir()})
    assert model_sha(hub.pull("me/mini")) == model_sha(other) != first


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((404, "RepoNotFound"), "no such model"),
        ((404, "RevisionNotFound"), "no such revision"),
        ((403, "GatedRepo"), "owner's permission"),
        ((418, "Teapot"), "cannot reach|refused"),
    ],
)
def test_refusals_of_the_hub(served, own_cache, refusal, message):
    served.refuse = refusal
    with pytest.raises(WeightsError, match=message) as error:
        hub.pull("me/mini")
    one_line(error)
    assert leftovers(own_cache) == []


def test_nobody_answers(monkeypatch, own_cache, tiny_model):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for action in (lambda: hub.pull("me/mini"), lambda: hub.push(tiny_model, "me/mini")):
        with pytest.raises(WeightsError, match=r"cannot reach http://127\.0\.0\.1:9") as error:
            action()
        one_line(error)
    assert leftovers(own_cache) == []


def test_offline_asks_nobody(served, monkeypatch, tiny_model):
    with pytest.raises(WeightsError, match="--offline"):
        hub.pull("me/mini", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for action in (hub.pull, hub.plan_pull, lambda name: hub.push(tiny_model, name)):
        with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
            action("me/mini")
    assert served.posts == []


def test_push_then_pull(server, tiny_model):
    (tiny_model / "notes.txt").write_text("stays here")
    address = hub.push(tiny_model, "me/mini", private=True)
    assert address.startswith(server.address)
    assert "private" in json.dumps(json.loads(server.posts[0][1]))
    assert sum("/commit/" in path for path, _ in server.posts) == 1
    assert sorted(server.files) == [
        "README.md",
        "checksums.json",
        "config.json",
        "level1.safetensors",
        "level2.safetensors",
    ]
    assert model_sha(hub.pull("me/mini")) == model_sha(tiny_model)


def test_damaged_model_is_not_pushed(server, tiny_model):
    flip_last_bit(tiny_model / "level1.safetensors")
    with pytest.raises(WeightsError, match="damaged"):
        hub.push(tiny_model, "me/mini")
    assert server.posts == []


def test_push_without_the_right(server, tiny_model):
    server.refuse = (403, "")
    with pytest.raises(WeightsError, match="refused") as error:
        hub.push(tiny_model, "me/mini")
    one_line(error)


# ---- local folders -----------------------------------------------------------------------------


@pytest.mark.parametrize("as_url", [False, True])
def test_pull_from_a_folder(tiny_model, own_cache, as_url):
    assert hub.plan_pull(str(tiny_model)).name == "tiny"
    path = hub.pull(tiny_model.as_uri() if as_url else str(tiny_model))
    assert hub.resolve("tiny") == path == hub.cached()["tiny"]
    assert model_sha(path) == model_sha(tiny_model)
    assert leftovers(own_cache) == ["tiny"]


def test_pull_from_a_damaged_folder(tiny_model, own_cache):
    flip_last_bit(tiny_model / "level1.safetensors")
    with pytest.raises(WeightsError, match="does not match"):
        hub.pull(str(tiny_model))
    assert leftovers(own_cache) == []


def test_pull_does_not_follow_links_out(tiny_model, own_cache, tmp_path):
    os.replace(tiny_model / "README.md", tmp_path / "secret")
    (tiny_model / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(WeightsError, match="link that leaves"):
        hub.pull(str(tiny_model))
    assert leftovers(own_cache) == []


@pytest.mark.parametrize("as_url", [False, True])
def test_push_to_a_folder(tiny_model, tmp_path, as_url):
    target = tmp_path / "shelf" / "mine"
    where = hub.push(tiny_model, target.as_uri() if as_url else str(target))
    assert where == str(target)
    assert all(check.ok for check in verify(target))
    assert [path.name for path in target.parent.iterdir()] == ["mine"]
    with pytest.raises(OutputExistsError, match="already there"):
        hub.push(tiny_model, str(target))


def test_push_to_a_place_that_cannot_be_written(tiny_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HvgError, match="cannot write") as error:
        hub.push(tiny_model, str(tmp_path / "file" / "x"))
    assert error.value.exit_code == 3


# ---- names -------------------------------------------------------------------------------------


def test_a_path_comes_first_and_names_are_told(tiny_model, monkeypatch):
    monkeypatch.chdir(tiny_model.parent)
    assert hub.resolve("tiny") == Path("tiny")
    hub.pull("./tiny")
    monkeypatch.chdir("/")
    assert "tiny" in hub.available()
    with pytest.raises(UsageError, match=r"unknown model 'tinny': did you mean tiny\?"):
        hub.resolve("tinny")


def test_preset_without_weights():
    with pytest.raises(WeightsError, match="train it with"):
        hub.resolve("hvg-bdd100k-48x256")


@pytest.mark.parametrize("text", ["./none", "/none/at/all", "~/none", "a/b/c", "", "a b"])
def test_missing_folder(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"missing|not a model folder"):
        hub.resolve(text)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        hub.resolve(tmp_path)
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        hub.pull(str(tmp_path))


@pytest.mark.parametrize("name", ["mini", "a--b/c", "a/b..c", "me/mi ni"])
def test_not_a_name_of_the_hub(name):
    with pytest.raises(UsageError, match="owner/name"):
        hub.pull(name)


def test_remove(tiny_model, own_cache):
    hub.pull(str(tiny_model))
    with pytest.raises(UsageError, match="did you mean tiny"):
        hub.remove("tinny")
    hub.remove("tiny")
    assert hub.cached() == {}
    assert leftovers(own_cache) == []


def test_abandoned_pulls_are_swept(tiny_model, own_cache):
    old = own_cache / "models" / ".pull-old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    (own_cache / "models" / ".pull-new").mkdir()
    hub.pull(str(tiny_model))
    assert leftovers(own_cache) == [".pull-new", "tiny"]
    assert list(hub.cached()) == ["tiny"]
