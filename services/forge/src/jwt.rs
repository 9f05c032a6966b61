//! The JWT with which an App speaks for itself: RS256, at most ten minutes long, told apart the way GitHub does.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;

use crate::clock;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::store::{self, App};

/// What GitHub says to a token that it cannot read, or whose signature is not the App's.
pub(crate) const UNREADABLE: &str = "A JSON web token could not be decoded";
const ISSUER: &str = "'Issuer' claim ('iss') must be an Integer";
const ISSUED: &str = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
const EXPIRED: &str = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the \
     assertion expires";
const TOO_LONG: &str = "'Expiration time' claim ('exp') is too far in the future";
/// How far the clocks may be apart, in seconds.
const SKEW: i64 = 60;
/// Longest life, in seconds.
const LIFE: i64 = 600;

/// Whether a bearer token is a JWT: the forge gives out none with dots.
pub(crate) fn looks_like_one(token: &str) -> bool {
    token.split('.').count() == 3
}

fn refused(text: &str) -> Error {
    Error::Unauthorized(text.to_owned())
}

/// Checks the times of a token whose signature is good.
fn check_times(claims: &Value, now: i64) -> Result<()> {
    let issued = claims["iat"].as_i64().filter(|issued| *issued <= now + SKEW).ok_or_else(|| refused(ISSUED))?;
    let number = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
    let expires = number(&claims["exp"]).filter(|expires| *expires > now).ok_or_else(|| refused(EXPIRED))?;
    if expires > now + LIFE || expires - issued > LIFE + SKEW {
        return Err(refused(TOO_LONG));
    }
    Ok(())
}

/// Refuses a key that cannot check an RS256 signature.
pub(crate) fn check_key(pem: &str) -> Result<()> {
    DecodingKey::from_rsa_pem(pem.as_bytes())
        .map(drop)
        .map_err(|error| Error::invalid(format!("the App's key is no RSA public key in PEM: {error}")))
}

fn issuer(token: &str) -> Result<i64> {
    let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match claims.map(|mut claims| claims["iss"].take()) {
        Some(Value::Number(id)) => id.as_i64().ok_or_else(|| refused(ISSUER)),
        Some(Value::String(id)) => id.parse().map_err(|_| Error::Missing("Integration not found".to_owned())),
        Some(_) => Err(refused(ISSUER)),
        None => Err(refused(UNREADABLE)),
    }
}

impl Hub {
    /// The App that signed a token.
    pub(crate) async fn app_of_jwt(&self, token: &str) -> Result<App> {
        let id = issuer(token)?;
        let app = self.store.read(move |db| store::app(db, id)).await?;
        let app = app.ok_or_else(|| Error::Missing("Integration not found".to_owned()))?;
        let key = DecodingKey::from_rsa_pem(app.public_key.as_bytes()).map_err(Error::internal)?;
        let mut validation = Validation::new(Algorithm::RS256);
        // The times are checked here, to answer in GitHub's words.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = decode::<Value>(token, &key, &validation).map_err(|_| refused(UNREADABLE))?.claims;
        check_times(&claims, clock::unix())?;
        Ok(app)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(claims: Value) -> Option<String> {
        match check_times(&claims, 1000) {
            Ok(()) => None,
            Err(Error::Unauthorized(text)) => Some(text),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn times_are_held_to_githubs_limits() {
        assert_eq!(text(json!({ "iat": 940, "exp": 1540 })), None);
        assert_eq!(text(json!({ "iat": 1060, "exp": 1600 })), None);
        for claims in [json!({ "iat": 1061, "exp": 1500 }), json!({ "exp": 1500 }), json!({ "iat": "1", "exp": 1500 })]
        {
            assert_eq!(text(claims).as_deref(), Some(ISSUED));
        }
        for claims in [json!({ "iat": 900, "exp": 1000 }), json!({ "iat": 900 }), json!({ "iat": 900, "exp": "x" })] {
            assert_eq!(text(claims).as_deref(), Some(EXPIRED));
        }
        assert_eq!(text(json!({ "iat": 1000, "exp": 1601 })).as_deref(), Some(TOO_LONG));
    }
}
