//! Randomness of the operating system.

use rand::RngCore as _;

use crate::ports::Entropy;

/// Randomness of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn trace(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}
