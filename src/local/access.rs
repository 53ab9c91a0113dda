//! Who may ask: requests that a web page makes without its visitor's knowledge are refused. Pure.
//!
//! A page can reach a server on its visitor's machine in two ways: by a request to another origin, which names the
//! page's own in `Origin`, and by pointing its own name at the server's address (DNS rebinding), which then stands in
//! `Host`. Programs name the server as they were told to, and send no `Origin`.

use std::net::IpAddr;

use crate::local::api::ApiError;

/// The names and origins that a server answers to.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// More names of this machine.
    pub hosts: Vec<String>,
    /// Origins whose pages may ask.
    pub origins: Vec<String>,
    /// Whether the server listens beyond this machine. Then it is reached at addresses that it need not know of, and a
    /// `Host` that is an address is nobody's name.
    pub is_open: bool,
}

impl Access {
    /// Judges a request by what its heads say; gives the allowed foreign origin that asks, if one does.
    ///
    /// # Errors
    /// When the request is refused.
    pub fn judge<'a>(&self, host: Option<&str>, origin: Option<&'a str>) -> Result<Option<&'a str>, ApiError> {
        if let Some(host) = host
            && !self.is_own(host)
        {
            return Err(ApiError::host(host));
        }
        let Some(origin) = origin else { return Ok(None) };
        if self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) {
            return Ok(Some(origin));
        }
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        match (authority, host) {
            (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Ok(None),
            _ => Err(ApiError::origin(origin)),
        }
    }

    /// Whether a `Host` names this server. Ports are not compared: a tunnel has one of its own.
    fn is_own(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let name = name.strip_suffix('.').unwrap_or(name);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = address.parse::<IpAddr>() {
            return self.is_open || address.to_canonical().is_loopback() || self.hosts.iter().any(|it| it == name);
        }
        name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The name in `name:port`; `None` where what follows the name is not a port.
fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(end);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered_to() {
        let closed = Access { hosts: vec!["box.lan".to_owned()], ..Access::default() };
        let open = Access { is_open: true, ..closed.clone() };
        for (host, is_closed, is_open) in [
            ("localhost", true, true),
            ("LocalHost:8080", true, true),
            ("localhost.:1", true, true),
            ("127.0.0.1:8080", true, true),
            ("127.8.9.1", true, true),
            ("[::1]:8080", true, true),
            ("[::1]", true, true),
            ("[::ffff:127.0.0.1]:1", true, true),
            ("BOX.lan:80", true, true),
            ("10.1.2.3:8080", false, true),
            ("[fe80::1]", false, true),
            ("evil.example", false, false),
            ("evil.example:8080", false, false),
            ("localhost.evil.example", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("localhost@evil.example", false, false),
            ("localhost:80@evil.example", false, false),
            ("evil.example:80:localhost", false, false),
            ("[::1", false, false),
            ("[::1]evil.example", false, false),
            ("2130706433", false, false),
            ("", false, false),
        ] {
            assert_eq!(closed.judge(Some(host), None).is_ok(), is_closed, "{host}");
            assert_eq!(open.judge(Some(host), None).is_ok(), is_open, "{host}");
        }
        assert_eq!(closed.judge(None, None), Ok(None), "HTTP/1.0 has no `Host`, and a browser always sends one");
        assert_eq!(closed.judge(Some("evil.example"), None).unwrap_err().status, 403);
    }

    #[test]
    fn pages_of_other_origins_are_refused_unless_they_are_allowed() {
        let access = Access { origins: vec!["https://app.example".to_owned()], ..Access::default() };
        let judge = |origin| access.judge(Some("127.0.0.1:8080"), Some(origin));
        assert_eq!(judge("http://127.0.0.1:8080"), Ok(None));
        assert_eq!(judge("https://app.example"), Ok(Some("https://app.example")));
        for foreign in [
            "http://app.example",
            "https://app.example:444",
            "https://app.example.evil.example",
            "http://127.0.0.1:9090",
            "http://localhost:8080",
            "null",
            "",
            "127.0.0.1:8080",
        ] {
            let error = judge(foreign).unwrap_err();
            assert_eq!((error.status, error.code), (403, Some("origin_not_allowed")), "{foreign}");
        }
        let rebound = access.judge(Some("evil.example"), Some("https://app.example")).unwrap_err();
        assert_eq!(rebound.code, Some("host_not_allowed"), "an allowed origin does not excuse a foreign name");
        assert_eq!(access.judge(None, Some("https://evil.example")).unwrap_err().status, 403);
    }
}
