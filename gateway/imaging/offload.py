"""Images fetched by the nginx in front of a gateway, once this has permitted and recorded it.

The gateway answers with ``X-Accel-Redirect`` into an internal location, of which there is one for each
archive; nginx asks the archive by itself and passes the answer on unbuffered, for half of the CPU. The
archive's address stands in nginx's configuration (:func:`server_part`), its credentials come with each
answer in a header that nginx takes over and never shows. So this is done over a Unix socket alone, and for a
request that nginx says it can do so with. Where the archive refuses, nginx asks the gateway once more to
do it by itself, which knows all the ways round.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.nodes.building import authorization_of
from gateway.settings import NodeSettings, Settings

ASKED = b"x-lianren-offload"
"""The request header by which nginx says that it can."""


def fetched(settings: Settings) -> list[NodeSettings]:
    """The archives that it fetches from: those of the settings. What is behind another gateway, or behind a
    proxy, comes by way of this one."""
    return [node for node in settings.nodes if node.kind == "dicomweb" and not node.proxy]


def handed_over(prefix: str, node: NodeSettings, target: str, accept: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that nginx completes with what the archive has at ``target``.

    Raises:
        SettingsError: a file with the archive's credentials cannot be read.
    """
    told = [("x-accel-redirect", f"{prefix}/{node.id}/{target}"), ("x-lianren-accept", accept)]
    told += [("x-lianren-authorization", value) for value in authorization_of(node).values()]
    return [(name.encode(), value.encode("latin-1")) for name, value in told]


def http_part(settings: Settings) -> str:
    """What stands before an nginx ``server`` for a gateway with these settings: where it connects to, and
    keeps connections for the next image."""
    parts = [_UPSTREAM.format(name="gateway", server=f"unix:{settings.uds}", further=_KEPT)]
    for node in fetched(settings):
        url = urlsplit(node.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        server = f"{url.netloc.removesuffix(f':{port}')}:{port}"
        parts.append(_UPSTREAM.format(name=node.id, server=server, further=""))
    return "".join(parts)


def server_part(settings: Settings) -> str:
    """The locations of that ``server``: the gateway itself, and each of its archives."""
    certificate = settings.client_certificate_header
    shown = f"    proxy_set_header {certificate} $ssl_client_escaped_cert;\n" if certificate else ""
    parts = [_GATEWAY.format(certificate=shown)]
    parts += [_ARCHIVE.format(**_words(settings.offload, node)) for node in fetched(settings)]
    return "\n".join(parts)


def _words(prefix: str, node: NodeSettings) -> dict[str, str]:
    parts = urlsplit(node.url)
    return {
        "at": f"{prefix}/{node.id}",
        "url": f"{parts.scheme}://lianren-{node.id}{parts.path.rstrip('/')}",
        "host": parts.netloc,
        "connect": str(node.connect_ms),
        "read": str(max(node.first_byte_ms, node.between_bytes_ms)),
        "tls": "".join(f"    {line};\n" for line in _tls(node)) if parts.scheme == "https" else "",
    }


def _tls(node: NodeSettings) -> Iterable[str]:
    yield "proxy_ssl_verify on"
    yield "proxy_ssl_server_name on"
    yield f"proxy_ssl_name {urlsplit(node.url).hostname}"
    yield f"proxy_ssl_trusted_certificate {node.ca_file or '/etc/ssl/certs/ca-certificates.crt'}"
    if node.certificate_file:
        yield f"proxy_ssl_certificate {node.certificate_file}"
        yield f"proxy_ssl_certificate_key {node.certificate_key_file or node.certificate_file}"


_UPSTREAM = """\
upstream lianren-{name} {{
    server {server};
    keepalive 64;
{further}}}
"""
_KEPT = "    keepalive_timeout 4s;  # the gateway closes idle connections after five\n"
_GATEWAY = """\
# Everything goes to the gateway, which hands over what this server may fetch by itself.
location / {{
    proxy_pass http://lianren-gateway;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    proxy_set_header X-Lianren-Offload nginx;
{certificate}    proxy_request_buffering off;
    proxy_buffering off;
    client_max_body_size 0;
}}
# An archive refused, or was not there: the gateway does it by itself, and tells why where it cannot.
location @lianren-itself {{
    proxy_pass http://lianren-gateway$request_uri;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    proxy_set_header X-Lianren-Offload "";
{certificate}    proxy_buffering off;
}}
"""
_ARCHIVE = """\
location {at}/ {{
    internal;
    set $lianren_accept $upstream_http_x_lianren_accept;
    set $lianren_authorization $upstream_http_x_lianren_authorization;
    set $lianren_origin $upstream_http_access_control_allow_origin;
    set $lianren_exposed $upstream_http_access_control_expose_headers;
    set $lianren_policy $upstream_http_cross_origin_resource_policy;
    set $lianren_request $upstream_http_x_request_id;
    set $lianren_source $upstream_http_lianren_source;
    proxy_pass {url}/;
    proxy_http_version 1.1;
    proxy_pass_request_headers off;
    proxy_set_header Host {host};
    proxy_set_header Connection "";
    proxy_set_header Accept $lianren_accept;
    proxy_set_header Accept-Encoding identity;
    proxy_set_header Authorization $lianren_authorization;
    proxy_set_header Range $http_range;
    proxy_set_header If-Range $http_if_range;
    proxy_method GET;
    proxy_buffering off;
    proxy_buffer_size 256k;
    proxy_buffers 4 256k;
    proxy_redirect off;
    proxy_connect_timeout {connect}ms;
    proxy_read_timeout {read}ms;
{tls}    proxy_intercept_errors on;
    error_page 300 301 302 303 307 308 400 401 403 404 405 406 409 410 415 429 = @lianren-itself;
    error_page 500 501 502 503 504 = @lianren-itself;
    proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering
        X-Accel-Charset Expires Cache-Control Set-Cookie Vary;
    proxy_hide_header Access-Control-Allow-Origin;
    proxy_hide_header Access-Control-Allow-Credentials;
    proxy_hide_header Access-Control-Expose-Headers;
    proxy_hide_header Cache-Control;
    proxy_hide_header Content-Disposition;
    proxy_hide_header Content-Location;
    proxy_hide_header Cross-Origin-Resource-Policy;
    proxy_hide_header Link;
    proxy_hide_header Location;
    proxy_hide_header Server;
    proxy_hide_header Set-Cookie;
    proxy_hide_header Via;
    proxy_hide_header X-Powered-By;
    add_header Cache-Control no-store;
    add_header Access-Control-Allow-Origin $lianren_origin;
    add_header Access-Control-Expose-Headers $lianren_exposed;
    add_header Cross-Origin-Resource-Policy $lianren_policy;
    add_header X-Request-Id $lianren_request;
    add_header Lianren-Source $lianren_source;
}}
"""
