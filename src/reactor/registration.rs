//! How connections get their place in a loop, and leave it.

use super::loops::Arrival;
use super::{DRAIN_PLACES, Loop, Slot};
use crate::base::fault::Site;
use crate::conn::Machine;
use crate::port::seat::Newcomer;

impl Loop {
    /// Connections come.
    pub(super) fn take_in(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Accepted(newcomers) => {
                self.fresh += newcomers.len();
                for newcomer in newcomers {
                    self.welcome(newcomer);
                }
            }
            Arrival::HandOver(conn) => {
                self.fresh += 1;
                self.adopt(*conn);
            }
        }
    }

    fn welcome(&mut self, newcomer: Newcomer) {
        newcomer.port.fault.strike(Site::Loop);
        self.adopt(Machine::new(newcomer, self.turn.now_ms));
    }

    /// Gives a connection its place here.
    fn adopt(&mut self, conn: Machine) {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[key] = Some(Box::new(Slot {
            conn,
            readable: false,
            read_closed: false,
            touched: false,
            again: false,
            timer_tick: 0,
            unjudged: false,
            evicted: false,
        }));
        self.careful(key, Loop::settle_in);
        // Its buffered input is processed before the loop waits: the poll reports no event for it.
        self.careful(key, Loop::visit_if_room);
    }

    fn settle_in(&mut self, key: usize) {
        let Some(slot) = &mut self.slots[key] else { return };
        let conn = &mut slot.conn;
        conn.moves_in(&self.turn);
        if let Err(error) = conn.transport().register(self.poll.registry(), key) {
            conn.on_io_error(&error);
        }
        let loop_index = self.turn.loop_index;
        if conn.ticket().is_some_and(|ticket| ticket.settle_at(loop_index, key)) {
            (slot.evicted, slot.readable) = (true, true);
        }
        if let Some(deadline_ms) = conn.port().drain_deadline_ms() {
            conn.on_drain(deadline_ms);
        }
    }

    /// Lets the next connections of listeners that stop know of it.
    pub(super) fn drain_some(&mut self) {
        for _ in 0..DRAIN_PLACES {
            let Some(drain) = self.drains.front_mut() else { return };
            if drain.left == 0 {
                self.drains.pop_front();
                continue;
            }
            let (port, deadline_ms, key) = (drain.port, drain.deadline_ms, drain.at);
            drain.left -= 1;
            drain.at = (key + 1) % self.slots.len();
            if self.slots[key].as_ref().is_some_and(|slot| slot.conn.port().number == port) {
                self.careful(key, |this, key| {
                    if let Some(slot) = &mut this.slots[key] {
                        slot.conn.on_drain(deadline_ms);
                    }
                    this.expire(key);
                });
            }
        }
    }

    pub(super) fn take_slot(&mut self, key: usize) -> Option<Box<Slot>> {
        let slot = self.slots[key].take()?;
        self.free.push(key);
        self.turn.lingering -= usize::from(slot.conn.lingers);
        self.entrance.has_left();
        Some(slot)
    }

    pub(super) fn drop_slot(&mut self, key: usize) {
        // Closing the descriptor takes it out of the poll.
        drop(self.take_slot(key));
    }

    pub(super) fn hand_over(&mut self, key: usize) {
        let Some(mut slot) = self.take_slot(key) else { return };
        if let Err(error) = slot.conn.transport().deregister(self.poll.registry()) {
            self.commons.log.error("reactor", format!("leaving the handshake loop: {error}"));
        }
        self.loops.hand_over(slot.conn);
    }
}
