//! Tests of `handles`.

use super::*;

fn enter(table: &Table<u64>) -> u64 {
    *table.insert(3, Arc::new)
}

#[test]
fn a_handle_is_stale_once_its_connection_is_gone_and_stays_so() {
    let table = Table::new();
    let first = enter(&table);
    assert_eq!(table.lookup(first).as_deref(), Ok(&first));
    table.remove(first);
    let second = enter(&table);
    assert_eq!(first as u32, second as u32, "the place is used again");
    assert_eq!(table.lookup(first), Err(Status::Closed));
    assert_eq!(table.lookup(second).as_deref(), Ok(&second));
    for never in [0, 1, u64::MAX, second + (1 << 32), second + 64] {
        assert_eq!(table.lookup(never), Err(Status::InvalidHandle), "{never:x}");
    }
}

#[test]
fn removing_a_stale_handle_takes_nobody_else_out() {
    let table = Table::new();
    let first = enter(&table);
    table.remove(first);
    let second = enter(&table);
    table.remove(first);
    assert_eq!(table.lookup(second).as_deref(), Ok(&second));
    table.remove(second);
    table.remove(second);
    let (third, fourth) = (enter(&table), enter(&table));
    assert_ne!(third as u32, fourth as u32, "a place is given to one at a time");
}

#[test]
fn an_entry_is_freed_when_it_is_removed_and_nobody_holds_it() {
    let table = Table::new();
    let held = table.insert(0, Arc::new);
    table.remove(*held);
    assert_eq!(Arc::strong_count(&held), 1);
}

/// What a host might attach: its destructor looks into the table.
#[cfg(not(shuttle))]
struct Curious(&'static Table<Curious>, Arc<std::sync::atomic::AtomicUsize>);

#[cfg(not(shuttle))]
impl Drop for Curious {
    fn drop(&mut self) {
        let is_free = self.0.shards.iter().all(|shard| shard.try_write().is_some());
        self.1.fetch_add(1 + usize::from(is_free), std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
#[cfg(not(shuttle))]
fn a_destructor_of_an_entry_runs_without_a_lock_of_the_table() {
    static TABLE: Table<Curious> = Table::new();
    let seen = Arc::default();
    let mut id = 0;
    let made = TABLE.insert(7, |raw| {
        id = raw;
        Arc::new(Curious(&TABLE, Arc::clone(&seen)))
    });
    drop(made);
    TABLE.remove(id);
    assert_eq!(seen.load(std::sync::atomic::Ordering::SeqCst), 2);
}
