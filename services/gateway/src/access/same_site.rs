//! Refuses what a browser sends for another site's page: by its headers, and by a host name that is not ours (DNS
//! rebinding).

use std::net::IpAddr;

use http::{HeaderMap, Uri, header, uri::Authority};
use kfops_core::{Failure, Reason};

/// The names under which the gateway is reached.
pub(super) struct SameSite {
    hosts: Vec<String>,
}

impl SameSite {
    pub(super) fn new(hosts: &[String]) -> Self {
        Self { hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Whether it may go on.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
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
