//! Session tickets under keys that several proxies share.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use crate::TlsError;

/// Bytes of a key's name, which a ticket begins with.
const NAME: usize = 16;
/// Bytes of a key's part that encrypts.
const SECRET: usize = 32;

/// Tickets under given keys: the first encrypts, all decrypt. What a ticket resumes is bound to the settings that its
/// session was verified under (S13).
pub(crate) struct SharedTickets {
    keys: Vec<([u8; NAME], LessSafeKey)>,
    binding: Vec<u8>,
    lifetime: u32,
}

impl std::fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedTickets")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl SharedTickets {
    /// Keys of 80 bytes: name, a part for signatures that is not needed here, and a part that encrypts.
    pub(crate) fn new(
        keys: &[[u8; 80]],
        binding: Vec<u8>,
        lifetime: u32,
    ) -> Result<Self, TlsError> {
        let keys = keys
            .iter()
            .map(|key| {
                let (name, rest) = key.split_first_chunk::<NAME>()?;
                let (_, secret) = rest.split_last_chunk::<SECRET>()?;
                let key = UnboundKey::new(&AES_256_GCM, secret).ok()?;
                Some((*name, LessSafeKey::new(key)))
            })
            .collect::<Option<Vec<_>>>()
            .filter(|keys| !keys.is_empty());
        let text = || rustls::Error::General("unusable session ticket key".to_owned());
        Ok(Self {
            keys: keys.ok_or_else(|| TlsError::Settings(text()))?,
            binding,
            lifetime,
        })
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(&self.binding[..]);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        let mut ticket = name.to_vec();
        ticket.extend(nonce);
        ticket.extend(sealed);
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, key) = self.keys.iter().find(|(own, _)| own == name)?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(&self.binding[..]);
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut sealed)
            .ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_open_under_any_key_and_the_same_settings_only() {
        let made = |keys: &[[u8; 80]], binding: &[u8]| {
            SharedTickets::new(keys, binding.to_vec(), 60).unwrap()
        };
        let (old, new) = ([1; 80], [2; 80]);
        let ticket = made(&[old], b"a").encrypt(b"session").unwrap();
        assert_eq!(
            made(&[new, old], b"a").decrypt(&ticket).unwrap(),
            b"session"
        );
        assert!(made(&[new, old], b"b").decrypt(&ticket).is_none());
        assert!(made(&[new], b"a").decrypt(&ticket).is_none());
        assert!(made(&[old], b"a").decrypt(&ticket[..20]).is_none());
    }
}
