//! `X-Hub-Signature-256`: HMAC-SHA-256 over the body, with any of the webhook's secrets.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha2::Sha256;

use crate::settings::Secret;

/// The secrets, keyed once.
pub(super) struct Secrets(Vec<Hmac<Sha256>>);

/// A body being hashed as it arrives.
pub(super) struct Check(Vec<Hmac<Sha256>>);

/// What the sender says.
pub(super) struct Signature([u8; 32]);

impl Secrets {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        // HMAC takes keys of any length, so none is dropped.
        Self(secrets.iter().filter_map(|secret| Hmac::new_from_slice(secret.bytes()).ok()).collect())
    }

    pub(super) fn check(&self) -> Check {
        Check(self.0.clone())
    }
}

impl Check {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for mac in &mut self.0 {
            mac.update(bytes);
        }
    }

    /// Compares in constant time, with every secret.
    pub(super) fn matches(self, signature: &Signature) -> bool {
        self.0.into_iter().fold(false, |matched, mac| matched | mac.verify_slice(&signature.0).is_ok())
    }
}

impl Signature {
    /// The one signature of a request; None when there is none, several, or not one of `sha256=` and 64 hex digits.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all("x-hub-signature-256").iter();
        let (first, None) = (all.next()?, all.next()) else { return None };
        let mut bytes = [0; 32];
        hex::decode_to_slice(first.as_bytes().strip_prefix(b"sha256=")?, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(secrets: &[&str], body: &[&[u8]], signature: &str) -> bool {
        let secrets: Vec<_> = secrets.iter().map(|s| Secret::new(*s)).collect();
        let mut headers = HeaderMap::new();
        headers.insert("x-hub-signature-256", signature.parse().unwrap());
        let Some(signature) = Signature::of(&headers) else { return false };
        let mut check = Secrets::new(&secrets).check();
        body.iter().for_each(|part| check.update(part));
        check.matches(&signature)
    }

    const SECRET: &str = "It's a Secret to Everybody";
    const VECTOR: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn githubs_vector() {
        assert!(matches(&[SECRET], &[b"Hello, World!"], VECTOR));
        assert!(matches(&[SECRET], &[b"Hello, ", b"", b"World!"], VECTOR));
        assert!(matches(&["the new one", SECRET], &[b"Hello, World!"], VECTOR));
        assert!(matches(&[SECRET, "the new one"], &[b"Hello, World!"], VECTOR));
    }

    #[test]
    fn everything_else_is_wrong() {
        assert!(!matches(&[SECRET], &[b"Hello, World"], VECTOR));
        assert!(!matches(&["other"], &[b"Hello, World!"], VECTOR));
        assert!(!matches(&[], &[b"Hello, World!"], VECTOR));
        for shape in ["", "sha256=", &VECTOR[..70], &VECTOR.replace("sha256", "sha1"), &format!("{VECTOR}00")] {
            assert!(!matches(&[SECRET], &[b"Hello, World!"], shape), "{shape}");
        }
    }

    #[test]
    fn two_signatures_are_none() {
        let mut headers = HeaderMap::new();
        headers.append("x-hub-signature-256", VECTOR.parse().unwrap());
        headers.append("x-hub-signature-256", VECTOR.parse().unwrap());
        assert!(Signature::of(&headers).is_none());
    }
}
