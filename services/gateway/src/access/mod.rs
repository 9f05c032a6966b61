//! Who calls the API, what they may, and whether a browser was tricked into it.

mod same_site;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use http::{HeaderMap, Uri, header};
use kfops_core::{Failure, Reason};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use self::same_site::SameSite;
use crate::{
    cluster::{ClusterUser, Identity, Right},
    settings::ApiSettings,
};

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A user of the forge by that login, as the settings say: may call everything.
    Login(String),
    /// A user of the cluster: RBAC says what it may call.
    Cluster(ClusterUser),
}

impl Actor {
    /// As spans name it.
    pub(crate) fn user(&self) -> &str {
        match self {
            Self::Login(login) => login,
            Self::Cluster(user) => &user.name,
        }
    }
}

/// Decides who may call.
pub(crate) struct Access {
    same_site: SameSite,
    /// SHA-256 of each token, so that a comparison takes the same time for all lengths.
    tokens: Vec<([u8; 32], String)>,
    loopback_user: Option<String>,
    cluster: Option<Arc<Identity>>,
    logins: BTreeMap<String, String>,
}

impl Access {
    pub(crate) fn new(settings: &ApiSettings, cluster: Option<Arc<Identity>>) -> Self {
        let tokens = settings.tokens.iter().map(|t| (Sha256::digest(t.token.bytes()).into(), t.user.clone())).collect();
        Self {
            same_site: SameSite::new(&settings.hosts),
            tokens,
            loopback_user: settings.loopback_user.clone(),
            cluster,
            logins: settings.cluster.as_ref().map(|cluster| cluster.logins.clone()).unwrap_or_default(),
        }
    }

    /// The caller's identity, or why there is none.
    pub(crate) async fn actor(&self, peer: Option<Peer>, uri: &Uri, headers: &HeaderMap) -> Result<Actor, Failure> {
        self.same_site.check(uri, headers)?;
        if let Some(user) = self.cluster.as_ref().and_then(|cluster| cluster.named_by_ingress(headers)) {
            return Ok(Actor::Cluster(user));
        }
        if !self.tokens.is_empty() || self.cluster.is_some() {
            return self.bearer(headers).await;
        }
        let proxied = ["forwarded", "x-forwarded-for", "via"].iter().any(|name| headers.contains_key(*name));
        let local = peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback()) && !proxied;
        match &self.loopback_user {
            Some(user) if local => Ok(Actor::Login(user.clone())),
            user => {
                let who = if user.is_some() { "only this machine" } else { "nobody" };
                Err(Failure::new(Reason::Unauthenticated, format!("no token is set up, so {who} may call the API"))
                    .action("set api.tokens in the gateway's settings and send one as `Authorization: Bearer`"))
            }
        }
    }

    /// Whether that caller may call that method, named as in the protos.
    pub(crate) async fn may(&self, actor: &Actor, method: &str, name: &str) -> Result<(), Failure> {
        match (actor, &self.cluster) {
            (Actor::Cluster(user), Some(cluster)) => cluster.may(user, &Right::of(method, name)).await,
            (Actor::Cluster(_), None) => Err(Failure::internal("a user of a cluster, and no cluster")),
            (Actor::Login(_), _) => Ok(()),
        }
    }

    /// The caller as scm-bot knows it: a login of the forge, whose permission on the repository decides.
    pub(crate) fn login<'a>(&'a self, actor: &'a Actor) -> Result<&'a str, Failure> {
        match actor {
            Actor::Login(login) => Ok(login),
            Actor::Cluster(user) => self.logins.get(&user.name).map(String::as_str).ok_or_else(|| {
                let said = format!("Kfops does not know which GitHub user `{}` is, so it cannot ask what they may", user.name);
                Failure::new(Reason::PermissionDenied, said).on("api.cluster.logins").action(
                    "write the command as a comment under the pull request, or ask whoever runs Kfops to add the user to \
                     api.cluster.logins in the gateway's settings",
                )
            }),
        }
    }

    async fn bearer(&self, headers: &HeaderMap) -> Result<Actor, Failure> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(given) = given else {
            return Err(Failure::new(Reason::Unauthenticated, "the request has no bearer token")
                .action("send a token as `Authorization: Bearer`; kfc takes it from KFOPS_TOKEN"));
        };
        let digest = <[u8; 32]>::from(Sha256::digest(given.as_bytes()));
        // Every token is compared, whichever matches.
        let mut found = None;
        for (token, user) in &self.tokens {
            if bool::from(token.ct_eq(&digest)) {
                found = Some(user);
            }
        }
        if let Some(user) = found {
            return Ok(Actor::Login(user.clone()));
        }
        match &self.cluster {
            Some(cluster) => Ok(Actor::Cluster(cluster.of_token(digest, &SecretString::from(given)).await?)),
            None => Err(Failure::new(Reason::Unauthenticated, "the bearer token is not known")
                .action("ask whoever runs Kfops for a valid token")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ApiToken, Secret};

    async fn ask(access: &Access, peer: &str, headers: &[(&str, &str)]) -> Result<String, Reason> {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, "localhost:8080".parse().unwrap());
        for (name, value) in headers {
            map.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let peer = Some(Peer(peer.parse().unwrap()));
        let actor = access.actor(peer, &Uri::from_static("/v1/commands"), &map).await;
        actor.map(|actor| actor.user().to_owned()).map_err(|failure| failure.reason)
    }

    fn local() -> ApiSettings {
        ApiSettings { loopback_user: Some("local".into()), ..ApiSettings::default() }
    }

    #[tokio::test]
    async fn without_tokens_only_this_machine() {
        // A proxy on this machine that adds no header looks just like it: nobody is let in unless the operator says so.
        let access = Access::new(&ApiSettings::default(), None);
        assert_eq!(ask(&access, "127.0.0.1:5", &[]).await, Err(Reason::Unauthenticated));
        let access = Access::new(&local(), None);
        assert_eq!(ask(&access, "127.0.0.1:5", &[]).await, Ok("local".into()));
        assert_eq!(ask(&access, "[::1]:5", &[]).await, Ok("local".into()));
        assert_eq!(ask(&access, "10.0.0.9:5", &[]).await, Err(Reason::Unauthenticated));
        assert_eq!(ask(&access, "127.0.0.1:5", &[("x-forwarded-for", "1.2.3.4")]).await, Err(Reason::Unauthenticated));
    }

    #[tokio::test]
    async fn with_tokens_only_with_one() {
        let token = |token: &str, user: &str| ApiToken { token: Secret::new(token), user: user.into() };
        let settings = ApiSettings { tokens: vec![token("t1", "ann"), token("t2", "bob")], ..ApiSettings::default() };
        let access = Access::new(&settings, None);
        assert_eq!(ask(&access, "10.0.0.9:5", &[("authorization", "Bearer t2")]).await, Ok("bob".into()));
        assert_eq!(ask(&access, "10.0.0.9:5", &[("authorization", "bearer t1")]).await, Ok("ann".into()));
        for wrong in ["Bearer t3", "Bearer ", "Basic t1", "t1"] {
            assert_eq!(ask(&access, "127.0.0.1:5", &[("authorization", wrong)]).await, Err(Reason::Unauthenticated));
        }
        assert_eq!(ask(&access, "127.0.0.1:5", &[]).await, Err(Reason::Unauthenticated));
    }

    #[tokio::test]
    async fn pages_of_other_sites_are_refused() {
        let settings = ApiSettings { hosts: vec!["kfops.example.com".into()], ..local() };
        let access = Access::new(&settings, None);
        let ask = async |headers: &[(&str, &str)]| ask(&access, "127.0.0.1:5", headers).await;
        let refused = Err(Reason::PermissionDenied);
        assert_eq!(ask(&[("host", "evil.example.com")]).await, refused);
        assert_eq!(ask(&[("host", "localhost.evil.example.com")]).await, refused);
        assert_eq!(ask(&[("host", "")]).await, refused);
        assert_eq!(ask(&[("origin", "http://evil.example.com")]).await, refused);
        assert_eq!(ask(&[("origin", "null")]).await, refused);
        assert_eq!(ask(&[("sec-fetch-site", "cross-site")]).await, refused);
        assert_eq!(ask(&[("sec-fetch-site", "same-site")]).await, refused);
        assert_eq!(ask(&[("host", "KFOPS.example.com:80")]).await, Ok("local".into()));
        assert_eq!(ask(&[("host", "[::1]:8080")]).await, Ok("local".into()));
        assert_eq!(
            ask(&[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")]).await,
            Ok("local".into())
        );
    }
}
