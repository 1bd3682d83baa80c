import pytest

from alfworld_sft import proxy_and_tls
from alfworld_sft.errors import ConfigError
from alfworld_sft.proxy_and_tls import is_loopback, proxy_for, tls_context

VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://host/v1", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://host/v1", "http://p:1"),
        ({"HTTP_PROXY": "p:1"}, "http://host/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://host/v1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://host/v1", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://host/v1", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "HTTP_PROXY": "http://q:2"}, "http://host/v1", "http://q:2"),
        ({"HTTP_PROXY": "http://p:1\r"}, "http://host/v1", "http://p:1"),
        ({"HTTP_PROXY": " "}, "http://host/v1", None),
        ({"ALL_PROXY": "socks5://p:1", "NO_PROXY": "host"}, "http://host/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": ".example.org"}, "http://a.example.org/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*.example.org"}, "http://a.example.org/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "host:8000"}, "http://host:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "host:8000"}, "http://host:80/v1", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, "http://host/v1", None),
        ({"ALL_PROXY": "socks://p:1"}, "http://127.0.0.1:8000/v1", None),
        ({"ALL_PROXY": "socks5://p:1"}, "http://[::1]:8000/v1", None),
    ],
)
def test_the_environment_names_the_proxy(variables, url, proxy, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (found.url if found else None) == proxy


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (
            "socks5://p:1",
            r"ALL_PROXY names a SOCKS proxy, which needs the package socksio: pip install 'httpx2\[socks\]'",
        ),
        ("socks://p:1", r"ALL_PROXY begins with socks://.*did you mean socks5://\?"),
        ("ftp://p:1", "ALL_PROXY begins with ftp://"),
        ("http://", "ALL_PROXY is not the address of a proxy"),
        ("http://p:none", "ALL_PROXY is not the address of a proxy"),
        ("http://[p", "ALL_PROXY is not the address of a proxy"),
        ("http://p q:1", "ALL_PROXY is not the address of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line_that_names_the_variable_and_the_way_out(value, line, monkeypatch):
    monkeypatch.setattr(proxy_and_tls, "find_spec", lambda _: None)  # as where socksio is not installed
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigError, match=line) as caught:
        proxy_for("https://host/v1", "httpx2")
    assert str(caught.value).endswith("correct or unset ALL_PROXY, or add host to NO_PROXY")
    assert "\n" not in str(caught.value)


def test_a_proxy_s_password_is_not_repeated(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "ftp://me:secret@p:1")
    with pytest.raises(ConfigError) as caught:
        proxy_for("https://host/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "a.localhost"])
def test_loopback_is_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["host", "10.0.0.1", "localhost.example.org", ""])
def test_others_are_not(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("variable", "name", "line"),
    [
        ("SSL_CERT_FILE", "gone", "No such file or directory; name a file of PEM certificates, or unset SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "text", "holds no certificates; name a file of PEM certificates, or unset SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "folder", "name a file of PEM certificates, or unset SSL_CERT_FILE"),
        ("SSL_CERT_DIR", "gone", "no such folder; name one with certificates, or unset SSL_CERT_DIR"),
    ],
)
def test_certificates_that_cannot_be_read_are_one_line_that_names_the_variable(
    variable, name, line, tmp_path, monkeypatch
):
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv(variable, str(tmp_path / name))
    with pytest.raises(ConfigError) as caught:
        tls_context()
    assert str(caught.value).startswith(f"{variable}={tmp_path / name}: ")
    assert str(caught.value).endswith(line)


def test_certificates_that_are_not_set_are_the_library_s(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert tls_context() is None
