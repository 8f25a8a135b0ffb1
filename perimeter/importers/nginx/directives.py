"""Directives of nginx that are known not to restrict clients. Pure.

A directive that is not listed here may restrict clients or change where a request goes. A location that it applies to is not
imported as open.
"""

from __future__ import annotations

from perimeter.importers.nginx.tree import Directive

OF_NGINX = frozenset(
    (
        *("user", "worker_processes", "worker_rlimit_nofile", "pid", "events", "daemon", "error_log", "load_module", "sendfile"),
        *("tcp_nopush", "tcp_nodelay", "keepalive_timeout", "keepalive_requests", "types_hash_max_size", "default_type", "types"),
        *("server_tokens", "ssl_session_cache", "ssl_session_timeout", "ssl_session_tickets", "ssl_ciphers"),
        *("ssl_prefer_server_ciphers", "ssl_dhparam", "ssl_ecdh_curve", "log_format", "server_names_hash_bucket_size"),
        *("gzip_vary", "gzip_proxied", "gzip_comp_level", "gzip_disable", "gzip_http_version"),
    )
)
"""Directives about nginx as a program, or about what the gateway always does."""

CONSUMED = frozenset(
    (
        *("proxy_http_version", "proxy_buffering", "proxy_request_buffering", "proxy_buffers", "proxy_buffer_size"),
        *("proxy_busy_buffers_size", "expires", "etag", "proxy_ssl_server_name", "log_not_found", "server_name", "listen"),
    )
)
"""Directives that the gateway does not need."""

TRANSLATED = frozenset(
    (
        *("location", "root", "alias", "index", "try_files", "proxy_pass", "proxy_connect_timeout", "proxy_read_timeout"),
        *("client_max_body_size", "auth_request", "auth_request_set", "auth_basic", "auth_basic_user_file", "proxy_set_header"),
        *("proxy_redirect", "allow", "deny", "access_log", "error_page", "internal", "ssl", "ssl_certificate"),
        *("ssl_certificate_key", "ssl_client_certificate", "ssl_verify_client", "ssl_protocols", "satisfy"),
        *("ssl_reject_handshake", "proxy_ssl_trusted_certificate", "proxy_ssl_name", "proxy_ssl_verify"),
        *("limit_req", "limit_conn", "add_header", "proxy_hide_header", "acme_issuer", "acme_certificate"),
        *("proxy_ssl_certificate", "proxy_ssl_certificate_key", "gzip", "gzip_types", "gzip_min_length"),
        *("auth_gss", "auth_gss_keytab", "auth_gss_realm", "auth_gss_service_name", "auth_gss_allow_basic_fallback"),
        *("auth_gss_authorized_principal", "auth_gss_authorized_principal_regex"),
    )
)
"""Directives that other modules of the importer translate."""

_HARMLESS = frozenset(
    (
        # limits, time-outs, connections and logs
        *(
            "auth_delay",
            "limit_rate",
            "limit_rate_after",
            "limit_req_zone",
            "limit_req_status",
            "limit_req_log_level",
        ),
        *(
            "limit_req_dry_run",
            "limit_conn_zone",
            "limit_conn_status",
            "limit_conn_log_level",
            "limit_conn_dry_run",
        ),
        *("client_body_timeout", "client_header_timeout", "client_body_buffer_size", "client_header_buffer_size"),
        *("client_body_temp_path", "client_body_in_file_only", "client_body_in_single_buffer", "large_client_header_buffers"),
        *("send_timeout", "lingering_close", "lingering_time", "lingering_timeout", "reset_timedout_connection", "send_lowat"),
        *("keepalive_time", "keepalive_disable", "connection_pool_size", "request_pool_size", "postpone_output"),
        *("output_buffers", "read_ahead", "directio", "directio_alignment", "aio", "aio_write", "sendfile_max_chunk"),
        *("open_file_cache", "open_file_cache_valid", "open_file_cache_min_uses", "open_file_cache_errors"),
        *("open_log_file_cache", "log_subrequest", "rewrite_log", "uninitialized_variable_warn", "resolver"),
        *("resolver_timeout", "server_names_hash_max_size", "types_hash_bucket_size", "variables_hash_max_size"),
        *("variables_hash_bucket_size", "map_hash_max_size", "map_hash_bucket_size", "http2", "http2_push_preload"),
        *(
            "http2_max_concurrent_streams",
            "http2_chunk_size",
            "http2_body_preread_size",
            "http2_idle_timeout",
            "http2_recv_timeout",
        ),
        # variables, which only other directives use
        *("map", "geo", "split_clients", "set"),
        # answers
        *("add_header", "add_trailer", "charset", "charset_types", "override_charset", "autoindex", "autoindex_exact_size"),
        *("autoindex_format", "autoindex_localtime", "if_modified_since", "max_ranges", "chunked_transfer_encoding"),
        *("gunzip", "gunzip_buffers", "gzip_static", "gzip_buffers", "gzip_window", "absolute_redirect", "port_in_redirect"),
        *("server_name_in_redirect", "recursive_error_pages", "msie_padding", "msie_refresh", "ignore_invalid_headers"),
        *("underscores_in_headers", "merge_slashes", "subrequest_output_buffer_size"),
        # TLS, without client certificates
        *("ssl_early_data", "ssl_stapling", "ssl_stapling_file", "ssl_stapling_responder", "ssl_stapling_verify"),
        *("acme_issuer", "acme_certificate", "acme_shared_zone", "ssl_certificate_cache"),
        *("ssl_trusted_certificate", "ssl_buffer_size", "ssl_session_ticket_key", "ssl_conf_command", "ssl_password_file"),
        # connections to services
        *("proxy_bind", "proxy_cookie_domain", "proxy_cookie_path", "proxy_cookie_flags", "proxy_force_ranges"),
        *("proxy_headers_hash_bucket_size", "proxy_headers_hash_max_size", "proxy_hide_header", "proxy_ignore_client_abort"),
        *("proxy_ignore_headers", "proxy_intercept_errors", "proxy_limit_rate", "proxy_max_temp_file_size"),
        *("proxy_next_upstream", "proxy_next_upstream_timeout", "proxy_next_upstream_tries", "proxy_pass_header"),
        *("proxy_send_lowat", "proxy_send_timeout", "proxy_socket_keepalive", "proxy_temp_file_write_size", "proxy_temp_path"),
        *(
            "proxy_store_access",
            "proxy_ssl_ciphers",
            "proxy_ssl_conf_command",
        ),
        *("proxy_ssl_crl", "proxy_ssl_name", "proxy_ssl_password_file", "proxy_ssl_protocols", "proxy_ssl_session_reuse"),
        *("proxy_ssl_trusted_certificate", "proxy_ssl_verify", "proxy_ssl_verify_depth"),
    )
)
_CACHES = ("proxy_cache", "proxy_no_cache")
_OTHER_SERVICES = ("fastcgi_", "uwsgi_", "scgi_", "grpc_", "memcached_")
"""Only directives that end in ``_pass`` have an effect by themselves."""

_WITHOUT_EFFECT = frozenset(("set", "add_header", "add_trailer", "expires", "access_log"))
"""Directives in the block of an ``if`` that restrict no client."""

FILES_OF_NGINX = ("mime.types", "/etc/letsencrypt/options-ssl-nginx.conf")
"""Files that come with nginx or Certbot, and restrict no client: they are often not on the machine that imports."""

_OWN_WAY = frozenset(
    (
        *("proxy_next_upstream", "proxy_next_upstream_tries", "proxy_next_upstream_timeout", "proxy_send_timeout"),
        *("proxy_ssl_verify_depth", "proxy_ssl_session_reuse", "proxy_socket_keepalive", "server_names_hash_max_size"),
        *("types_hash_bucket_size", "variables_hash_max_size", "variables_hash_bucket_size", "map_hash_max_size"),
        *("map_hash_bucket_size", "limit_req_zone", "limit_conn_zone", "proxy_cache_bypass", "proxy_no_cache"),
        *("proxy_max_temp_file_size", "proxy_temp_path", "proxy_headers_hash_max_size", "proxy_headers_hash_bucket_size"),
        *("client_body_buffer_size", "large_client_header_buffers", "client_header_buffer_size", "resolver_timeout"),
        *("acme_shared_zone", "ssl_certificate_cache"),
    )
)
"""Directives of which the gateway does the same in its own way, or which have no effect by themselves."""


def harmless(directive: Directive) -> bool:
    """Whether ``directive`` restricts no client and does not change which resource a request gets."""
    name = directive.name
    if name == "include":
        return of_nginx(directive)
    if name == "if":
        return all(one.name in _WITHOUT_EFFECT for one in directive.block or ())
    if name.startswith(_OTHER_SERVICES):
        return not name.endswith("_pass")
    return name in _HARMLESS or name in OF_NGINX or name in CONSUMED or name.startswith(_CACHES)


def done(directive: Directive) -> bool:
    """Whether ``directive`` needs no note: it is translated, or the gateway does the same."""
    name = directive.name
    if name in TRANSLATED or name in CONSUMED or name in OF_NGINX:
        return True
    if name == "map" and directive.args[:1] in (("$http_upgrade",), ("$http_connection",)):
        return True
    return name in _OWN_WAY or of_nginx(directive) or (name.startswith(("ssl_", "keepalive_")) and harmless(directive))


def of_nginx(directive: Directive) -> bool:
    """Whether this includes a file that comes with nginx."""
    path = " ".join(directive.args)
    return directive.name == "include" and (path in FILES_OF_NGINX or path.rpartition("/")[2] == FILES_OF_NGINX[0])
