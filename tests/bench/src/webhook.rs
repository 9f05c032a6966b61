//! Signed `issue_comment` webhooks of realistic size.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kfops_github_contract::examples;
use serde_json::{Value, json};
use sha2::Sha256;

/// Sizes that bodies are spread over, in bytes.
const SIZES: std::ops::Range<usize> = 8_000..20_000;
/// Words of a description, to fill it up.
const PROSE: &str = "The forest gets deeper trees and one feature less, because the last run showed that petal width \
    alone explains most of it.\r\n\r\n- accuracy on the hold-out set stays where it was\r\n- training takes half the time\r\n\r\n";

/// A webhook, ready to be sent.
#[derive(Debug, Clone)]
pub struct Signed {
    /// `X-GitHub-Delivery`.
    pub delivery: String,
    /// `X-Hub-Signature-256`.
    pub signature: String,
    /// The body.
    pub body: Bytes,
}

/// Makes webhooks for the comments of one pull request, each with an id of its own.
#[derive(Debug)]
pub struct Maker {
    payload: Value,
    secret: String,
    next: u64,
}

impl Maker {
    /// For a pull request.
    pub fn new(repository: &str, number: u64, login: &str, secret: &str) -> Result<Self> {
        let mut payload = examples::comment_on_pull_request()?;
        let (owner, name) = repository.split_once('/').context("owner/name")?;
        payload["repository"]["full_name"] = repository.into();
        payload["repository"]["name"] = name.into();
        payload["repository"]["owner"]["login"] = owner.into();
        payload["issue"]["number"] = number.into();
        payload["comment"]["user"]["login"] = login.into();
        payload["sender"]["login"] = login.into();
        for (field, value) in
            [("labels", json!([])), ("assignees", json!([])), ("assignee", Value::Null), ("milestone", Value::Null)]
        {
            payload["issue"][field] = value;
        }
        Ok(Self { payload, secret: secret.into(), next: 1 })
    }

    /// As many webhooks, of sizes spread evenly; `words` makes the comment from its number.
    pub fn make(&mut self, count: usize, words: impl Fn(u64) -> String) -> Result<Vec<Signed>> {
        let mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())?;
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            let id = self.next;
            self.next += 1;
            self.payload["comment"]["id"] = (3_000_000_000 + id).into();
            self.payload["comment"]["body"] = words(id).into();
            self.payload["issue"]["body"] = Value::from("");
            let bare = serde_json::to_vec(&self.payload)?.len();
            // Small and large ones in turn, so that every part of a round has all sizes.
            let spread = index * 7919 % count * (SIZES.end - SIZES.start) / count.max(1);
            let missing = (SIZES.start + spread).saturating_sub(bare);
            let prose: String = PROSE.chars().cycle().take(missing * 9 / 10).collect();
            self.payload["issue"]["body"] = prose.into();
            let body = Bytes::from(serde_json::to_vec(&self.payload)?);
            let mut signed = mac.clone();
            signed.update(&body);
            let signature = format!("sha256={}", hex::encode(signed.finalize().into_bytes()));
            all.push(Signed { delivery: format!("72d3162e-cc78-11e3-81ab-{id:012x}"), signature, body });
        }
        Ok(all)
    }
}
