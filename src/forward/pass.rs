//! What is left to do at the end of a pass of the engine: waiters that are
//! told one after the other may want to act once for all.

use std::cell::RefCell;

/// What is to be called.
type Calls = Vec<fn()>;

thread_local! {
    /// `None` on all threads but the engine's.
    static AT_END: RefCell<Option<Calls>> = const { RefCell::new(None) };
}

/// Has `call` called when the engine has told everybody of this pass. `false`
/// on other threads than the engine's, which have no passes: then what is to
/// be done is to be done at once.
pub fn at_end_of_pass(call: fn()) -> bool {
    AT_END.with_borrow_mut(|calls| {
        let calls = calls.as_mut();
        let is_engine = calls.is_some();
        if let Some(calls) = calls {
            calls.push(call);
        }
        is_engine
    })
}

/// From here on this thread has passes.
pub(super) fn begin() {
    AT_END.set(Some(Vec::new()));
}

/// A pass is over. Returns whether anything was to be done.
pub(super) fn end() -> bool {
    let take = || AT_END.with_borrow_mut(|calls| calls.as_mut().and_then(Vec::pop));
    let mut done = false;
    // One by one, since a call may ask for another.
    while let Some(call) = take() {
        call();
        done = true;
    }
    done
}

/// This thread has no passes any more.
pub(super) fn finish() {
    end();
    AT_END.set(None);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn calls_come_at_the_end_of_a_pass_and_on_no_other_thread() {
        let call = || CALLS.set(CALLS.get() + 1);
        assert!(!at_end_of_pass(call));
        begin();
        assert!(at_end_of_pass(call) && at_end_of_pass(call));
        assert_eq!(CALLS.get(), 0);
        assert!(end() && !end());
        assert_eq!(CALLS.get(), 2);
        assert!(at_end_of_pass(call));
        finish();
        assert_eq!(CALLS.get(), 3);
        assert!(!at_end_of_pass(call));
    }
}
