//! Tests of the parser: command line, records and their precedence.

extern crate std;
use super::table::{Fallback, Place, TABLE};
use super::*;
use std::vec::Vec;

fn options(command_line: &'static str, image: &'static str) -> (Options<'static>, Vec<(Source, Complaint<'static>)>) {
    let (command_line, arguments) = cmdline::decode(Vec::leak(command_line.as_bytes().to_vec()));
    let image = Record::decode(Vec::leak(image.as_bytes().to_vec()));
    let sources = Sources::new([arguments, command_line, Record::default(), image]);
    let mut complaints = Vec::new();
    let options = sources.options(&mut |source, complaint| complaints.push((source, complaint)));
    (options, complaints)
}

#[test]
fn the_command_line_overrides_records_and_the_last_value_counts() {
    let (options, complaints) = options(
        "BOOT_IMAGE=x root=/dev/vda root=/dev/vdb ro rw rootwait rootdelay=2 whit.hostname=c whit.net.timeout=3 -- root=/dev/no",
        "hostname image\nworkdir /srv\ngrace 4\nstopsignal SIGQUIT\nentrypoint /e\n",
    );
    assert_eq!(complaints, []);
    let expected = Options {
        //     root, rootfstype, rootflags, overlay, workdir, user, hostname, init, net.dev, ip, ntp, notify, shell, caps
        values: [b"/dev/vdb", b"", b"", b"", b"/srv", b"", b"c", b"", b"", b"", b"", b"", b"", b"all"],
        times: [UNLIMITED_S, 2, 4, 3, 0, 0],
        stop_signal: 3,
        ..Options::default()
    };
    assert_eq!(options, expected);
}

#[test]
fn refused_options_are_reported_with_their_line() {
    let (options, complaints) =
        options("whit.colour=red whit.net=maybe colour=red", "\nusr x\n bad\ngrace soon\nworkdir /x");
    assert_eq!(options.value(Value::Workdir), b"/x");
    assert_eq!(options.times, Options::default().times);
    let complaint = |line, name: &'static str, problem| Complaint { line, name: name.as_bytes(), problem };
    assert_eq!(
        complaints,
        [
            (Source::Image, complaint(2, "usr", Problem::Unknown)),
            (Source::Image, complaint(3, "", Problem::Malformed)),
            (Source::Image, complaint(4, "grace", Problem::Value)),
            (Source::CommandLine, complaint(1, "colour", Problem::Unknown)),
            (Source::CommandLine, complaint(1, "net", Problem::Value)),
        ]
    );
}

#[test]
fn each_action_after_the_exit_is_parsed() {
    for (text, expected) in [
        (&b"poweroff"[..], Some((OnExit::PowerOff, u32::MAX))),
        (b"reboot", Some((OnExit::Reboot, u32::MAX))),
        (b"halt", Some((OnExit::Halt, u32::MAX))),
        (b"kexec", Some((OnExit::Kexec, u32::MAX))),
        (b"shell", Some((OnExit::Shell, u32::MAX))),
        (b"restart", Some((OnExit::Restart, u32::MAX))),
        (b"restart:0", Some((OnExit::Restart, 0))),
        (b"restart:3", Some((OnExit::Restart, 3))),
        (b"restart:", None),
        (b"restart:x", None),
        (b"reboot:3", None),
        (b"", None),
        (b"never", None),
    ] {
        let mut options = Options { restarts: 7, ..Options::default() };
        let result = options.set(b"on_exit", text);
        assert_eq!(result, if expected.is_some() { Ok(()) } else { Err(Problem::Value) }, "{text:?}");
        let expected = expected.unwrap_or((OnExit::Shell, 7));
        assert_eq!((options.on_exit(), options.restarts), expected, "{text:?}");
    }
}

#[test]
fn a_failed_boot_is_followed_by_on_fail_or_else_by_on_exit() {
    for (on_exit, on_fail, expected) in [
        (None, None, OnExit::Shell),
        (Some("reboot"), None, OnExit::Reboot),
        (Some("restart:3"), None, OnExit::Restart),
        (Some("reboot"), Some("shell"), OnExit::Shell),
        (None, Some("poweroff"), OnExit::PowerOff),
        (None, Some("halt"), OnExit::Halt),
        (Some("halt"), Some("restart"), OnExit::Halt),
        (None, Some("restart:1"), OnExit::Shell),
    ] {
        let mut options = Options::default();
        assert_eq!(on_exit.map_or(Ok(()), |word| options.set(b"on_exit", word.as_bytes())), Ok(()));
        let set = on_fail.map_or(Ok(()), |word| options.set(b"on_fail", word.as_bytes()));
        assert_eq!(set.is_err(), on_fail.is_some_and(|word| word.starts_with("restart")));
        assert_eq!(options.on_fail(), expected, "{on_exit:?} {on_fail:?}");
    }
}

#[test]
fn the_delay_of_panic_is_positive() {
    for (text, seconds) in [("5", 5), ("0", 0), ("-1", 0), ("", 0), ("x", 0)] {
        let mut options = Options::default();
        assert_eq!(options.set(b"panic", text.as_bytes()), Ok(()));
        assert_eq!(options.fail_delay_s(), seconds, "{text}");
    }
}

#[test]
fn names_match_the_table_with_those_of_the_kernel_first() {
    assert!(split(NAMES, b' ').eq(TABLE.iter().map(|row| row.name.as_bytes())));
    assert!(KERNEL_NAMES.starts_with(b"root rootfstype ") && KERNEL_NAMES.ends_with(b" nameserver panic"));
    let kernels = TABLE.iter().filter(|row| row.place == Place::Kernel).count();
    assert_eq!(split(KERNEL_NAMES, b' ').count(), kernels);
}

#[test]
fn every_default_equals_its_value_when_given() {
    for row in TABLE {
        let Fallback::Fixed(value) = row.default else { continue };
        if matches!(row.kind, Kind::Text(_)) {
            continue; // A text's default is applied where it is used.
        }
        let mut options = Options::default();
        assert_eq!(options.set(row.name.as_bytes(), value.as_bytes()), Ok(()), "{}", row.name);
        assert_eq!(options, Options::default(), "{}", row.name);
    }
}

#[test]
fn every_value_time_and_switch_has_a_row() {
    let count = |wanted: fn(&Kind) -> Option<usize>| {
        let mut places: Vec<usize> = TABLE.iter().filter_map(|row| wanted(&row.kind)).collect();
        places.sort();
        places.dedup();
        places.len()
    };
    assert_eq!(count(|kind| if let Kind::Text(value) = kind { Some(*value as usize) } else { None }), VALUES);
    assert_eq!(count(|kind| if let Kind::Time(time) = kind { Some(*time as usize) } else { None }), TIMES);
    assert_eq!(count(|kind| if let Kind::Switch(switch) = kind { Some(*switch as usize) } else { None }), SWITCHES);
}

#[test]
fn signals_have_dockers_names() {
    for (name, number) in [
        ("SIGQUIT", Some(3)),
        ("QUIT", Some(3)),
        ("SIGTERM", Some(15)),
        ("WINCH", Some(28)),
        ("SIGSYS", Some(31)),
        ("9", Some(9)),
        ("SIGRTMIN+3", Some(37)),
        ("RTMIN", Some(34)),
        ("SIGRTMIN+31", None),
        ("0", None),
        ("65", None),
        ("SIG", None),
        ("", None),
        ("SIGNOPE", None),
    ] {
        assert_eq!(signal(name.as_bytes()), number, "{name:?}");
    }
}

#[test]
fn accessors_return_the_given_options() {
    let (given, complaints) = options("whit.grow whit.grace=7", "mount a:/b\n");
    assert_eq!(complaints, []);
    assert_eq!((given.time(Time::Grace), given.time(Time::RootDelay)), (7, 0));
    assert_eq!((given.has(Switch::Grow), given.has(Switch::Release)), (true, false));
    let mut sources = Sources::new([Record::default(); 4]);
    sources.records[Source::Image as usize] = Record::decode(Vec::leak(b"mount a:/b\n".to_vec()));
    assert!(sources.any_has(b"tmpfs mount") && !sources.any_has(b"tmpfs grow"));
}

#[test]
fn a_program_beside_the_workload_keeps_the_options_of_the_command_line() {
    let (command_line, _) = cmdline::decode(Vec::leak(b"whit.user=www whit.workdir=/srv whit.hostname=h".to_vec()));
    let arguments = Record::decoded(b"whit.workdir /tmp\0entrypoint \0");
    let mut sources = Sources::new([arguments, command_line, Record::default(), Record::default()]);
    sources.is_beside = true;
    let options = sources.options(&mut |_, complaint| panic!("{complaint:?}"));
    assert_eq!(options.value(Value::User), b"www");
    assert_eq!(options.value(Value::Hostname), b"h");
    assert_eq!(options.value(Value::Workdir), b"/tmp", "its own options are the strongest");
}
