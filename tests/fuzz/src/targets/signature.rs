//! Signatures of webhooks. The code is the gateway's own file, which no crate offers.

#[path = "../../../../services/gateway/src/webhook/signature.rs"]
mod gateways;

use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use self::gateways::{Secrets, Signature};
use super::ensure;
use crate::settings::Secret;

/// The first byte says how long the secret is, the second how the body comes in pieces, the rest is secret and body.
pub(super) fn check(input: &[u8]) -> Result<(), String> {
    let [length, piece, rest @ ..] = input else { return Ok(()) };
    let (secret, body) = rest.split_at(usize::from(*length).min(rest.len()));
    let exact = hmac(secret, body);
    let header = format!("sha256={}", hex::encode(exact));
    let accepts = |secrets: &[&[u8]], header: &[u8], body: &[u8]| {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret(secret.to_vec())).collect();
        let mut headers = HeaderMap::new();
        let Ok(value) = HeaderValue::from_bytes(header) else { return false };
        headers.insert("x-hub-signature-256", value);
        let Some(signature) = Signature::of(&headers) else { return false };
        let mut check = Secrets::new(&secrets).check();
        body.chunks(usize::from(*piece).max(1)).for_each(|part| check.update(part));
        check.matches(&signature)
    };
    let exactly = header.as_bytes();
    ensure(accepts(&[secret], exactly, body), || "the exact signature is refused".into())?;
    ensure(accepts(&[b"another", secret], exactly, body), || "the second secret is not tried".into())?;
    let mut other = secret.to_vec();
    other.push(1);
    ensure(!accepts(&[&other], exactly, body), || "another secret is taken".into())?;
    ensure(!accepts(&[], exactly, body), || "no secret at all is needed".into())?;
    let mut longer = body.to_vec();
    longer.push(0);
    ensure(!accepts(&[secret], exactly, &longer), || "another body is taken".into())?;
    ensure(!accepts(&[secret], body, body), || "the body is its own signature".into())?;
    for (index, byte) in exact.iter().enumerate() {
        let mut wrong = exact;
        wrong[index] = byte ^ (1 << (piece % 8));
        let header = format!("sha256={}", hex::encode(wrong));
        ensure(!accepts(&[secret], header.as_bytes(), body), || format!("byte {index} does not matter"))?;
    }
    for shape in [&exactly[..exactly.len() - 1], &[exactly, b"0"].concat(), &exactly[7..], &[b" ", exactly].concat()] {
        ensure(!accepts(&[secret], shape, body), || format!("{} is taken", String::from_utf8_lossy(shape)))?;
    }
    Ok(())
}

/// RFC 2104 in its own words.
fn hmac(key: &[u8], body: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(body).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}
