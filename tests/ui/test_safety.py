"""Who gets in, and what a browser may do with what it gets."""

from __future__ import annotations

import http.client
import stat
import urllib.error

import pytest

from harmony_core.errors import UserError
from harmony_core.ui.guard import refused
from harmony_core.ui.server import listen
from tests.ui.conftest import Served, asked, open_url
from tests.ui.live_search import HOSTILE
from tests.waiting import PATIENCE


def status(address: str, **headers: str) -> int:
    try:
        with open_url(address, **headers) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_token_is_good_once_and_its_file_is_the_owners_alone(served: Served) -> None:
    assert stat.S_IMODE(served.file.stat().st_mode) == 0o600
    address = served.next_address()
    assert status(address) == 200
    assert status(address) == 403
    assert served.next_address() != address


def test_nobody_reads_without_the_cookie_and_its_folder(served: Served) -> None:
    cookie, folder = served.enter()
    api = f"http://127.0.0.1:{served.port}{folder}api/searches"
    assert status(api, cookie=cookie) == 200
    assert status(api) == 403
    assert status(api, cookie=cookie[:-1] + ("a" if cookie[-1] != "a" else "b")) == 403
    assert status(f"http://127.0.0.1:{served.port}/api/searches", cookie=cookie) == 403
    assert status(f"http://127.0.0.1:{served.port}/enter?token=", cookie=cookie) == 403
    assert status(f"http://127.0.0.1:{served.port}{folder}..%2f..%2fguard.py", cookie=cookie) == 404


def test_every_answer_says_what_a_browser_may_do_with_it(served: Served) -> None:
    cookie, folder = served.enter()
    for path in ("", "style.css", "api/searches"):
        with open_url(f"http://127.0.0.1:{served.port}{folder}{path}", cookie=cookie) as answer:
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("GET", {"host": "127.0.0.1:8000"}, None),
        ("GET", {"host": "localhost:9"}, None),
        ("GET", {"host": "[::1]:65535", "origin": "http://[::1]:65535"}, None),
        ("GET", {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, None),
        ("GET", {"host": "rebound.example:8000"}, 421),
        ("GET", {"host": "127.0.0.1.example"}, 421),
        ("GET", {"host": "127.0.0.1:8000@example"}, 421),
        ("GET", {}, 421),
        ("GET", {"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ("GET", {"host": "localhost:1", "origin": "null"}, 403),
        ("GET", {"host": "localhost:1", "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
        ("POST", {"host": "localhost:1"}, 405),
        ("OPTIONS", {"host": "localhost:1"}, 405),
    ],
)
def test_hosts_origins_and_methods(method: str, headers: dict[str, str], code: int | None) -> None:
    answer = refused(method, headers)
    assert (None if answer is None else answer.status_code) == code


def test_a_host_that_is_no_name_of_this_machine_gets_nothing(served: Served) -> None:
    cookie, folder = served.enter()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    connection.request("GET", f"{folder}api/searches", headers={"Host": "evil.example", "Cookie": cookie})
    answer = connection.getresponse()
    assert answer.status == 421
    connection.close()


def test_what_is_hostile_stays_data(served: Served) -> None:
    cookie, folder = served.enter()
    with open_url(f"http://127.0.0.1:{served.port}{folder}api/search?s=toy", cookie=cookie) as answer:
        assert answer.headers["content-type"] == "application/json"
    told = asked(served, "search")
    assert told["failures"][0]["error"] == " ".join(HOSTILE.split())


def test_a_taken_port_is_one_line(served: Served) -> None:
    with pytest.raises(UserError, match="another process has this port; use another") as caught:
        listen(served.port)
    assert caught.value.field == "--port"
