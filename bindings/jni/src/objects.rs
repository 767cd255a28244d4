//! Objects: what Java holds by number. A number is a slot and its generation, so that any number
//! may be tried: a stale, foreign or invented one is told, and never reaches memory.

use crate::polled::Polled;
use nativeport::listener::Listener;
use nativeport::runtime::Runtime;
use nativeport::status::Status;
use parking_lot::RwLock;
use std::sync::Arc;

/// Something that Java made here.
#[derive(Clone)]
pub enum Object {
    /// `runtimeNew`.
    Runtime(Arc<Runtime>),
    /// `listenerNew`.
    Listener(Arc<Listener>),
    /// `loopNew`.
    Loop(Arc<Polled>),
}

/// Generations end here, so that numbers are positive.
const LAST_GENERATION: u32 = i32::MAX as u32;

struct Entry {
    generation: u32,
    object: Option<Object>,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

static TABLE: RwLock<Table> = RwLock::new(Table { entries: Vec::new(), free: Vec::new() });

/// Enters an object, and gives its number.
pub fn enter(object: Object) -> i64 {
    let mut table = TABLE.write();
    let slot = table.free.pop().unwrap_or_else(|| {
        table.entries.push(Entry { generation: 1, object: None });
        (table.entries.len() - 1) as u32
    });
    let entry = &mut table.entries[slot as usize];
    entry.object = Some(object);
    i64::from(entry.generation) << 32 | i64::from(slot)
}

/// Finds an object.
pub fn find(id: i64) -> Result<Object, Status> {
    let table = TABLE.read();
    let entry = table.entries.get(id as u32 as usize).ok_or(Status::InvalidHandle)?;
    match &entry.object {
        Some(object) if i64::from(entry.generation) == id >> 32 => Ok(object.clone()),
        _ => Err(Status::InvalidHandle),
    }
}

/// Takes an object out.
pub fn remove(id: i64) -> Result<Object, Status> {
    let mut table = TABLE.write();
    let slot = id as u32;
    let entry = table.entries.get_mut(slot as usize).ok_or(Status::InvalidHandle)?;
    if i64::from(entry.generation) != id >> 32 {
        return Err(Status::InvalidHandle);
    }
    let object = entry.object.take().ok_or(Status::InvalidHandle)?;
    if entry.generation < LAST_GENERATION {
        entry.generation += 1;
        table.free.push(slot);
    }
    Ok(object)
}

/// Finds a runtime.
pub fn runtime(id: i64) -> Result<Arc<Runtime>, Status> {
    match find(id)? {
        Object::Runtime(runtime) => Ok(runtime),
        _ => Err(Status::InvalidHandle),
    }
}

/// Finds a listener.
pub fn listener(id: i64) -> Result<Arc<Listener>, Status> {
    match find(id)? {
        Object::Listener(listener) => Ok(listener),
        _ => Err(Status::InvalidHandle),
    }
}

/// Finds a loop.
pub fn polled(id: i64) -> Result<Arc<Polled>, Status> {
    match find(id)? {
        Object::Loop(polled) => Ok(polled),
        _ => Err(Status::InvalidHandle),
    }
}
