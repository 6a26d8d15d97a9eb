//! The hooks of a configuration: programs of the host that get the container's state on standard input.

use std::io::Write;
use std::process::{Command, Stdio};

use oci_spec::runtime::Hook;
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
            let _ = stdin.write_all(state.to_string().as_bytes()); // it need not read
        }
        let status = child.wait().map_err(|error| describe(error.to_string()))?;
        if !status.success() {
            return Err(describe(status.to_string()));
        }
    }
    Ok(())
}
