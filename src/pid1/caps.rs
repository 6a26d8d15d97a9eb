//! The bounds of the workload's privileges: `caps=` and `no_new_privs`.
//!
//! The bounding set is reduced; the inheritable and ambient sets of PID 1 are empty (kernel/cred.c, init_cred). execve(2) computes the
//! other sets from these, as in a container of runc: a program of root has the bounding set permitted and effective, a program of
//! another user has no capabilities, and file capabilities give no more than the bounding set. Before execve(2) this process keeps
//! its capabilities: it has yet to become the user, or it is PID 1, which ends the machine when the program cannot be executed.

use whit::caps::parse;
use whit::contract::NOT_STARTED;
use whit::error::Errno;
use whit::options::{Options, Sources, Switch, Value};

use crate::console::log_failure;
use crate::sys::process::bound_privileges;

/// Bounds the privileges of the program that this process executes; an error is logged, and returned as the exit code.
pub(crate) fn apply(_: &Sources<'_>, options: &Options<'_>) -> Result<(), u8> {
    let text = options.value(Value::Caps);
    let set = parse(text).ok_or(Errno::INVAL);
    set.and_then(|set| bound_privileges(set, options.has(Switch::NoNewPrivs))).map_err(|errno| {
        log_failure(c"caps ", text, errno);
        NOT_STARTED
    })
}
