//! Redis in a world: what it holds, carries out and says, and to whom it tells a change.

use super::*;

impl World {
    pub(super) fn execute(&mut self, lane: usize) {
        match self.lanes[lane].to_redis.pop_front() {
            None => {}
            Some(Request::Read { read, life }) => {
                let pttl = life.unwrap_or_else(|| self.pttl(read.key));
                if life.is_none() && self.setup.has_pttl_apart {
                    self.lanes[lane].to_redis.push_front(Request::Read { read, life: Some(pttl) });
                    return;
                }
                self.expire(read.key);
                let value = self.current(read.key).value;
                let exact = if let Asks::ForEntry(..) = read.asks {
                    self.expire(0);
                    self.current(0).value
                } else {
                    None
                };
                self.lanes[lane].unsent.push_back(Reply::Read { read, value, life: pttl, exact });
            }
            Some(Request::Write { key, change, is_fenced }) => {
                let version = self.add_version(key, Some(change));
                self.lanes[lane].unsent.push_back(Reply::Written { key, version, is_fenced });
            }
        }
    }

    pub(super) fn pttl(&self, key: usize) -> Life {
        let version = self.current(key);
        match (version.value, version.ends) {
            (None, _) => Life::from_reply(b":-2\r\n"),
            (Some(_), None) => Life::from_reply(b":-1\r\n"),
            (Some(_), Some(ends)) => Life::from_reply(format!(":{}\r\n", (ends - self.now) * 1000).as_bytes()),
        }
    }

    pub(super) fn flush(&mut self) {
        self.left.flushes -= 1;
        for key in 0..self.keys.len() {
            if self.current(key).value.is_some() {
                self.add_version(key, Some(Change::Delete));
                self.keys[key].is_untold = false;
            }
        }
        // This is told at once.
        if self.link.is_served && self.link.is_tracking {
            self.link.unsent.push_back(Told::AllChanged { versions: self.versions() });
        }
    }

    /// Whoever asks for a key whose time is over, Redis too, is the one that removes it.
    pub(super) fn expire(&mut self, key: usize) {
        let key = &mut self.keys[key];
        key.is_untold |= std::mem::take(&mut key.is_overdue);
    }

    pub(super) fn round_ends(&mut self) {
        for lane in &mut self.lanes {
            lane.from_redis.append(&mut lane.unsent);
        }
        self.link.from_redis.append(&mut self.link.unsent);
        for (place, key) in self.keys.iter_mut().enumerate() {
            if std::mem::take(&mut key.is_untold) && self.link.is_served && self.link.is_tracking {
                self.link.from_redis.push_back(Told::Changed { key: place, version: key.versions.len() - 1 });
            }
        }
    }

    pub(super) fn link_executes(&mut self) {
        let Some(ask) = self.link.to_redis.pop_front() else { return };
        let told = match ask {
            Ask::Tracking { sent } => {
                self.link.is_tracking = true;
                Told::Tracking { sent }
            }
            // Of what changed in this round it is told behind this.
            Ask::Ping { sent, fence } => Told::Pong { sent, fence, versions: self.versions_told() },
        };
        self.link.unsent.push_back(told);
    }

    pub(super) fn tick(&mut self) {
        self.left.ticks -= 1;
        self.now += 1;
        for key in 0..self.keys.len() {
            if self.current(key).ends == Some(self.now) {
                self.add_version(key, None);
                self.keys[key].is_untold = false;
                self.keys[key].is_overdue = true;
            }
        }
    }

    /// The key changes; no change is that its time is over.
    pub(super) fn add_version(&mut self, key: usize, change: Option<Change>) -> usize {
        let number = self.keys[key].versions.len();
        let is_set = change == Some(Change::Set);
        let value = if self.setup.has_equal_bytes { number % 2 } else { number % 256 };
        let version = Version {
            value: is_set.then(|| u8::try_from(value).unwrap()),
            made: self.now,
            ends: self.setup.life.filter(|_| is_set).map(|life| self.now + life),
        };
        let key = &mut self.keys[key];
        key.versions.push(version);
        key.is_untold = true;
        key.is_overdue = false;
        number
    }

    pub(super) fn current(&self, key: usize) -> Version {
        *self.keys[key].versions.last().expect("a key has a version from the beginning")
    }

    pub(super) fn versions(&self) -> [usize; 2] {
        std::array::from_fn(|key| self.keys.get(key).map_or(0, |key| key.versions.len() - 1))
    }

    /// The versions of which the link is told before this round ends.
    pub(super) fn versions_told(&self) -> [usize; 2] {
        let mut versions = self.versions();
        for (key, version) in self.keys.iter().zip(&mut versions) {
            if key.is_untold || key.is_overdue {
                *version = 0;
            }
        }
        versions
    }
}
