//! Who uses the machine: many tests at once, or the one that measures what belongs to all of it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

thread_local! {
    /// The share of this thread's test, and how many hold it.
    static SHARE: RefCell<(usize, Option<RwLockReadGuard<'static, ()>>)> = const { RefCell::new((0, None)) };
}

/// A share of the machine. A test may have several: they are one, since a second might wait for a test that waits for the
/// end of the first to be alone.
#[derive(Debug)]
pub(crate) struct Together(PhantomData<RwLockReadGuard<'static, ()>>);

impl Together {
    /// Waits until nobody is alone.
    pub(crate) fn with_others() -> Self {
        SHARE.with_borrow_mut(|(holders, guard)| {
            guard.get_or_insert_with(|| MACHINE.read().unwrap_or_else(PoisonError::into_inner));
            *holders += 1;
        });
        Self(PhantomData)
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        SHARE.with_borrow_mut(|(holders, guard)| {
            *holders -= 1;
            if *holders == 0 {
                *guard = None;
            }
        });
    }
}

/// The machine as a whole.
#[expect(dead_code, reason = "held, not read")]
#[derive(Debug)]
pub(crate) struct Alone(RwLockWriteGuard<'static, ()>);

impl Alone {
    /// Waits until nobody has a share.
    pub(crate) fn without_others() -> Self {
        Self(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
    }
}
