//! Who calls the API, and whether a browser was tricked into it. (Cluster identity comes with the cluster ports.)

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header, uri::Authority};
use kfops_core::{Failure, Reason};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::settings::ApiSettings;

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor(pub(crate) String);

/// Decides who may call.
pub(crate) struct Access {
    /// SHA-256 of each token, so that a comparison takes the same time for all lengths.
    tokens: Vec<([u8; 32], String)>,
    loopback_user: Option<String>,
    hosts: Vec<String>,
}

impl Access {
    pub(crate) fn new(settings: &ApiSettings) -> Self {
        let tokens = settings.tokens.iter().map(|t| (Sha256::digest(t.token.bytes()).into(), t.user.clone())).collect();
        Self {
            tokens,
            loopback_user: settings.loopback_user.clone(),
            hosts: settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    /// The caller's identity, or why there is none.
    pub(crate) fn actor(&self, peer: Option<Peer>, uri: &Uri, headers: &HeaderMap) -> Result<Actor, Failure> {
        self.same_site(uri, headers)?;
        if !self.tokens.is_empty() {
            return self.bearer(headers);
        }
        let proxied = ["forwarded", "x-forwarded-for", "via"].iter().any(|name| headers.contains_key(*name));
        let local = peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback()) && !proxied;
        match &self.loopback_user {
            Some(user) if local => Ok(Actor(user.clone())),
            user => {
                let who = if user.is_some() { "only this machine" } else { "nobody" };
                Err(Failure::new(Reason::Unauthenticated, format!("no token is set up, so {who} may call the API"))
                    .action("set api.tokens in the gateway's settings and send one as `Authorization: Bearer`"))
            }
        }
    }

    fn bearer(&self, headers: &HeaderMap) -> Result<Actor, Failure> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| <[u8; 32]>::from(Sha256::digest(token.trim().as_bytes())));
        let Some(given) = given else {
            return Err(Failure::new(Reason::Unauthenticated, "the request has no bearer token")
                .action("send a token as `Authorization: Bearer`; kfc takes it from KFOPS_TOKEN"));
        };
        // Every token is compared, whichever matches.
        let mut found = None;
        for (token, user) in &self.tokens {
            if bool::from(token.ct_eq(&given)) {
                found = Some(user);
            }
        }
        found.cloned().map(Actor).ok_or_else(|| {
            Failure::new(Reason::Unauthenticated, "the bearer token is not known")
                .action("ask whoever runs Kfops for a valid token")
        })
    }

    /// Refuses what a browser sends for another site's page: by its headers, and by a host name that is not ours
    /// (DNS rebinding).
    fn same_site(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = match uri.authority() {
            Some(authority) => Some(authority.clone()),
            None => headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok()),
        };
        let Some(host) = host.filter(|host| self.is_ours(host.host())) else {
            return Err(Failure::new(Reason::PermissionDenied, "the request is for a host name that is not ours")
                .action("use localhost or an IP address, or add the name to api.hosts in the gateway's settings"));
        };
        let cross = || {
            Failure::new(Reason::PermissionDenied, "the request comes from a page of another site")
                .action("call the API from a program, or from a page that the gateway's own address serves")
        };
        if let Some(site) = headers.get("sec-fetch-site")
            && !["same-origin", "none"].iter().any(|allowed| site == *allowed)
        {
            return Err(cross());
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let same = origin
                .to_str()
                .ok()
                .and_then(|origin| origin.split_once("://"))
                .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str()));
            if !same {
                return Err(cross());
            }
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        // An address cannot be rebound, a name can.
        host.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.hosts.contains(&host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ApiToken, Secret};

    fn ask(access: &Access, peer: &str, headers: &[(&str, &str)]) -> Result<String, Reason> {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, "localhost:8080".parse().unwrap());
        for (name, value) in headers {
            map.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let peer = Some(Peer(peer.parse().unwrap()));
        access.actor(peer, &Uri::from_static("/v1/commands"), &map).map(|a| a.0).map_err(|f| f.reason)
    }

    fn local() -> ApiSettings {
        ApiSettings { loopback_user: Some("local".into()), ..ApiSettings::default() }
    }

    #[test]
    fn without_tokens_only_this_machine() {
        // A proxy on this machine that adds no header looks just like it: nobody is let in unless the operator says so.
        let access = Access::new(&ApiSettings::default());
        assert_eq!(ask(&access, "127.0.0.1:5", &[]), Err(Reason::Unauthenticated));
        let access = Access::new(&local());
        assert_eq!(ask(&access, "127.0.0.1:5", &[]), Ok("local".into()));
        assert_eq!(ask(&access, "[::1]:5", &[]), Ok("local".into()));
        assert_eq!(ask(&access, "10.0.0.9:5", &[]), Err(Reason::Unauthenticated));
        assert_eq!(ask(&access, "127.0.0.1:5", &[("x-forwarded-for", "1.2.3.4")]), Err(Reason::Unauthenticated));
    }

    #[test]
    fn with_tokens_only_with_one() {
        let token = |token: &str, user: &str| ApiToken { token: Secret::new(token), user: user.into() };
        let settings = ApiSettings { tokens: vec![token("t1", "ann"), token("t2", "bob")], ..ApiSettings::default() };
        let access = Access::new(&settings);
        assert_eq!(ask(&access, "10.0.0.9:5", &[("authorization", "Bearer t2")]), Ok("bob".into()));
        assert_eq!(ask(&access, "10.0.0.9:5", &[("authorization", "bearer t1")]), Ok("ann".into()));
        for wrong in ["Bearer t3", "Bearer ", "Basic t1", "t1"] {
            assert_eq!(ask(&access, "127.0.0.1:5", &[("authorization", wrong)]), Err(Reason::Unauthenticated));
        }
        assert_eq!(ask(&access, "127.0.0.1:5", &[]), Err(Reason::Unauthenticated));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let settings = ApiSettings { hosts: vec!["kfops.example.com".into()], ..local() };
        let access = Access::new(&settings);
        let ask = |headers: &[(&str, &str)]| ask(&access, "127.0.0.1:5", headers);
        let refused = Err(Reason::PermissionDenied);
        assert_eq!(ask(&[("host", "evil.example.com")]), refused);
        assert_eq!(ask(&[("host", "localhost.evil.example.com")]), refused);
        assert_eq!(ask(&[("host", "")]), refused);
        assert_eq!(ask(&[("origin", "http://evil.example.com")]), refused);
        assert_eq!(ask(&[("origin", "null")]), refused);
        assert_eq!(ask(&[("sec-fetch-site", "cross-site")]), refused);
        assert_eq!(ask(&[("sec-fetch-site", "same-site")]), refused);
        assert_eq!(ask(&[("host", "KFOPS.example.com:80")]), Ok("local".into()));
        assert_eq!(ask(&[("host", "[::1]:8080")]), Ok("local".into()));
        assert_eq!(ask(&[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")]), Ok("local".into()));
    }
}
