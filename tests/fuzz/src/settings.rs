//! What the gateway's file for signatures needs of its crate.

/// A secret.
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl Secret {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_bytes())
    }
}
