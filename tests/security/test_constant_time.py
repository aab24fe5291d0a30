"""Tokens and what stands for them are compared in constant time, and a refusal reads the same whatever there is."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from chassis.joblog import JobLog
from services import gateway
from tests.security.callers import TUS, absent, bearer, world

_SOURCES = sorted(Path(gateway.__file__).parent.glob("*.py"))
_SECRET = re.compile(r"token|digest|signature|secret|ticket|hmac", re.IGNORECASE)
_PUBLIC = {
    ("receiving.py", "digest"): "a checksum that the client sends, and knows",
    ("submit.py", "digest"): "of a recording that whoever asks has just sent",
}
"""What is called so and is no secret."""


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: path.name)
def test_no_secret_is_compared_byte_by_byte(path: Path) -> None:
    compared = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Compare) or not any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
            continue
        sides = [node.left, *node.comparators]
        names = [
            inner.id if isinstance(inner, ast.Name) else inner.attr
            for side in sides
            for inner in ast.walk(side)
            if isinstance(inner, ast.Name | ast.Attribute)
        ]
        if any(isinstance(side, ast.Call) and ast.unparse(side.func) == "len" for side in sides):
            continue
        compared += [
            f"{path.name}:{node.lineno}: {ast.unparse(node)}"
            for name in names
            if _SECRET.search(name) and (path.name, name) not in _PUBLIC
        ]
    assert compared == []


async def test_a_refusal_reads_the_log_as_often_whether_there_is_something_or_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[Any] = []
    direct_get = JobLog._direct_get

    async def counted(self: JobLog, stream: str, request: dict[str, Any]) -> Any:
        if "multi_last" in request:  # the projector, which reads on, is in this process, too
            reads.append(stream)
        return await direct_get(self, stream, request)

    async with world() as there:
        monkeypatch.setattr(JobLog, "_direct_get", counted)
        for thing, method, path in (
            ("job", "GET", "/api/jobs/{}"),
            ("expired job", "GET", "/api/jobs/{}"),
            ("job", "POST", "/api/jobs/{}/share"),
            ("job", "GET", "/api/jobs/{}/media?ticket=ffffffff.0000"),
            ("upload", "HEAD", "/api/uploads/{}"),
            ("upload signed", "GET", "/api/uploads/{}/signed"),
            ("upload signed", "PUT", "/api/uploads/{}/parts/1?expires=9999999999&signature=0000"),
            ("batch", "GET", "/api/batches/{}"),
        ):
            counts = []
            for thing_id in (there.ids[thing], absent(thing)):
                reads.clear()
                answer = await there.gateway.http.request(
                    method, path.format(thing_id), headers=TUS | bearer(there.tokens["wrong token"])
                )
                assert answer.status_code == 404
                counts.append(list(reads))
            assert counts[0] == counts[1], path
