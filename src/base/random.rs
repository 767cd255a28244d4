//! The one source of chance in a world.

/// SplitMix64: every seed gives a sequence of its own. A script takes the place of chance
/// until it is used up.
pub(crate) struct Random {
    state: u64,
    script: std::vec::IntoIter<u8>,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        Random { state, script: Vec::new().into_iter() }
    }

    /// Each two bytes of the script are one decision.
    pub fn scripted(script: Vec<u8>) -> Random {
        Random { script: script.into_iter(), ..Random::new(0) }
    }

    /// A source of its own; it takes the second half of what is left of a script.
    pub fn fork(&mut self) -> Random {
        let seed = self.next();
        let mut first: Vec<u8> = self.script.by_ref().collect();
        let second = first.split_off(first.len().div_ceil(2));
        self.script = first.into_iter();
        Random { script: second.into_iter(), ..Random::new(seed) }
    }

    pub fn has_script(&self) -> bool {
        self.script.len() > 0
    }

    pub fn next(&mut self) -> u64 {
        match self.script.next() {
            Some(byte) => u64::from(byte) | u64::from(self.script.next().unwrap_or(0)) << 8,
            None => self.chance(),
        }
    }

    fn chance(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 to `below` - 1.
    pub fn below(&mut self, below: usize) -> usize {
        (self.next() % below.max(1) as u64) as usize
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Mostly small, sometimes up to `max`.
    pub fn size(&mut self, max: usize) -> usize {
        let bits = self.below(usize::BITS as usize - max.leading_zeros() as usize + 1);
        self.below(1 << bits).min(max)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        // Half of them compress well.
        if self.one_in(2) {
            let byte = self.next() as u8;
            (0..len).map(|i| byte.wrapping_add((i / 97) as u8)).collect()
        } else {
            (0..len).map(|_| self.chance() as u8).collect()
        }
    }
}
