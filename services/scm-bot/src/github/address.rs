//! Where GitHub's two APIs are: github.com, a tenant of ghe.com, or a GitHub Enterprise Server.

use kfops_core::{Failure, Reason};
use reqwest::Url;

/// The bases of REST and GraphQL.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// Without a slash at the end.
    rest: String,
    /// The one GraphQL endpoint.
    pub(super) graphql: Url,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Err(Failure::new(Reason::InvalidArgument, format!("github.api_url cannot be used: {why}"))
                .on("github.api_url")
                .action("write it as https://api.github.com or https://HOST/api/v3"))
        };
        let mut url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return wrong(&error.to_string()),
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return wrong("it is no http(s) address");
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return wrong("it may have neither credentials nor a query");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let rest = url.as_str().trim_end_matches('/').to_owned();
        // An Enterprise Server has REST at /api/v3 and GraphQL beside it.
        url.set_path(&format!("{}/graphql", path.strip_suffix("/v3").unwrap_or(&path)));
        Ok(Self { rest, graphql: url })
    }

    /// The address of a path that begins with a slash.
    pub(super) fn rest(&self, path: &str) -> Result<Url, Failure> {
        Url::parse(&format!("{}{path}", self.rest)).map_err(Failure::internal)
    }

    /// Whether our credentials may be shown there.
    pub(super) fn same_origin(&self, url: &Url) -> bool {
        self.graphql.origin() == url.origin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_github_has_its_two_bases() {
        for (text, rest, graphql) in [
            ("https://api.github.com", "https://api.github.com/x", "https://api.github.com/graphql"),
            ("https://api.github.com/", "https://api.github.com/x", "https://api.github.com/graphql"),
            ("https://api.acme.ghe.com", "https://api.acme.ghe.com/x", "https://api.acme.ghe.com/graphql"),
            ("https://ghe.example/api/v3", "https://ghe.example/api/v3/x", "https://ghe.example/api/graphql"),
            ("https://ghe.example/api/v3/", "https://ghe.example/api/v3/x", "https://ghe.example/api/graphql"),
            ("http://127.0.0.1:80/git/api/v3", "http://127.0.0.1/git/api/v3/x", "http://127.0.0.1/git/api/graphql"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.rest("/x").unwrap().as_str(), address.graphql.as_str()), (rest, graphql), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "api.github.com", "ftp://x", "https://user:secret@x", "https://x/?token=secret"] {
            let failure = Address::parse(text).unwrap_err();
            assert!(!failure.message.contains("secret"), "{failure}");
        }
    }

    #[test]
    fn credentials_stay_at_home() {
        let address = Address::parse("https://ghe.example/api/v3").unwrap();
        assert!(address.same_origin(&Url::parse("https://ghe.example/_codeload/x").unwrap()));
        assert!(!address.same_origin(&Url::parse("http://ghe.example/x").unwrap()));
        assert!(!address.same_origin(&Url::parse("https://codeload.github.com/x").unwrap()));
    }
}
