//! Messages in a gRPC stream: a flag byte, four bytes of length, the message.

/// Counts the messages of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MessageCounter {
    /// Messages begun.
    pub(crate) count: u64,
    head: u8,
    length: u32,
    left: u32,
}

impl MessageCounter {
    /// Looks at the next bytes of the stream.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skip = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= u32::try_from(skip).unwrap_or(self.left);
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            if self.head > 0 {
                self.length = self.length << 8 | u32::from(*first);
            }
            self.head += 1;
            if self.head == 5 {
                self.count += 1;
                self.left = std::mem::take(&mut self.length);
                self.head = 0;
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MessageCounter;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let stream = [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0; 5], &[1, 0, 0, 1, 0]].concat();
        for cut in 1..stream.len() {
            let mut counter = MessageCounter::default();
            for part in stream.chunks(cut) {
                counter.feed(part);
            }
            assert_eq!(counter.count, 3, "cut every {cut}");
        }
    }
}
