//! The hooks of a configuration: programs of the host that get the container's state on standard input.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

/// Runs hooks in order.
///
/// # Errors
/// A message of one line about the first one that fails.
pub(super) fn run(hooks: &[Hook], kind: &str, state: &Value) -> Result<(), String> {
    for hook in hooks {
        let path = hook.path();
        let describe = |problem: String| format!("hook {kind} {}: {problem}", path.display());
        let mut command = Command::new(path);
        if let Some((name, arguments)) = hook.args().as_deref().and_then(<[String]>::split_first) {
            std::os::unix::process::CommandExt::arg0(&mut command, name).args(arguments);
        }
        command.env_clear();
        command.envs(hook.env().iter().flatten().filter_map(|variable| variable.split_once('=')));
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(|error| describe(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // It need not read, and its time runs.
            let state = state.to_string();
            thread::spawn(move || drop(stdin.write_all(state.as_bytes())));
        }
        let status = wait(child, hook.timeout()).map_err(describe)?;
        if !status.success() {
            return Err(describe(status.to_string()));
        }
    }
    Ok(())
}

/// Waits for a hook's end, at most for its timeout in seconds.
fn wait(mut child: Child, timeout: Option<i64>) -> Result<ExitStatus, String> {
    if let Some(seconds @ 1..) = timeout {
        let ended = || {
            let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&Timespec { tv_sec: seconds, tv_nsec: 0 }))
        };
        if ended().map_err(|error| error.to_string())? == 0 {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
            return Err(format!("has not ended within its timeout of {seconds} s"));
        }
    }
    child.wait().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_gets_the_state_and_ends_in_its_time() {
        let hook = |script: &str, timeout: Option<i64>| {
            let hook = serde_json::json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": timeout });
            run(&[serde_json::from_value(hook).unwrap()], "poststop", &serde_json::json!({ "id": "a" }))
        };
        assert_eq!(hook("read state; test \"$state\" = '{\"id\":\"a\"}'", Some(60)), Ok(()));
        assert_eq!(
            hook("exec /bin/sleep 1000", Some(1)),
            Err("hook poststop /bin/sh: has not ended within its timeout of 1 s".into())
        );
        assert_eq!(hook("exit 3", None), Err("hook poststop /bin/sh: exit status: 3".into()));
    }
}
