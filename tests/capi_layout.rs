//! The structs of the header are the structs of the library: sizes and offsets, as a C
//! compiler sees them and as rustc does.

mod c_programs;

use std::fmt::Write;
use std::mem::offset_of;

use c_programs::{read, run_c_text};
use nativeport::capi::{config, conn, frame, handle, handler, poll, runtime, stats, status};

/// Writes, for each struct, its size and the offset and size of each member: as lines that
/// are expected, and as C that prints them.
macro_rules! layout {
    ($c:ident $rust:ident $($module:ident::$name:ident { $($field:ident),* $(,)? })*) => {{
        $({
            type Struct = $module::$name;
            let name = stringify!($name);
            let _ = writeln!($rust, "{name} {}", size_of::<Struct>());
            let _ = writeln!($c, "    printf(\"{name} %zu\\n\", sizeof({name}));");
            // Does not compile when a member is missing in the list.
            let sizes = |value: &Struct| {
                let Struct { $($field),* } = value;
                vec![$((stringify!($field), offset_of!(Struct, $field), size_of_val($field))),*]
            };
            // SAFETY: all zeros is a value of every struct of the header.
            let zero: Struct = unsafe { std::mem::zeroed() };
            let mut end = 0;
            for (field, offset, size) in sizes(&zero) {
                assert_eq!(offset, end, "padding before {name}.{field}");
                end = offset + size;
                let _ = writeln!($rust, "{name}.{field} {offset} {size}");
                let _ = writeln!(
                    $c,
                    "    printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), \
                     sizeof((({name} *)0)->{field}));"
                );
            }
            assert_eq!(size_of::<Struct>(), end, "padding at the end of {name}");
        })*
        [$(stringify!($name)),*]
    }};
}

#[test]
fn every_struct_has_the_same_layout_in_c_and_no_padding() {
    let mut rust = String::new();
    let mut c = String::from("#include <nativeport.h>\n#include <stdio.h>\nint main(void) {\n");
    let names = layout!(c rust
        status::np_error { struct_size, status, os_error, tls_alert, message_size, message }
        config::np_finding {
            struct_size, severity, line, reserved, text, file, section, key, message, valid,
        }
        handle::np_conn { id }
        handle::np_address { family, port, host }
        frame::np_frame { data, len, flags, reserved }
        runtime::np_log_record { struct_size, level, conn, stage, text }
        handler::np_close_info {
            struct_size, reason, by, stage, host_code, os_error, tls_alert, reserved,
            bytes_in, bytes_out, unsent_bytes, duration_ms, text,
        }
        handler::np_handler {
            struct_size, flags, user_data, destroy,
            on_open, on_frames, on_data, on_end, on_writable, on_close,
        }
        handler::np_admission { struct_size, flags, user_data, destroy, on_admit, on_close }
        conn::np_conn_info {
            struct_size, protocol, port_index, secure, tls_resumed, reserved,
            age_ms, bytes_in, bytes_out, frames_in, frames_out, queued_bytes,
            peer, local, tls_version, tls_suite, tls_group, tls_alpn, tls_server_name,
        }
        poll::np_event {
            kind, protocol, conn, user_data, count, frames, data, close, log,
            first_byte, reserved,
        }
        stats::np_stats {
            struct_size, reserved, accepted, unidentified, open, opened,
            frames_in, frames_out, bytes_in, bytes_out, memory_bytes, log_dropped, closes,
            loops_held_up, slow_turns, connections, accept_errors, bytes_unsent,
            certificate_days_left,
        }
    );
    c.push_str("    return 0;\n}\n");
    assert_eq!(run_c_text("layout", &c), rust);

    let header = read("include/nativeport.h");
    let structs =
        header.lines().filter(|line| line.starts_with("typedef struct ") && line.ends_with('{'));
    assert_eq!(structs.count(), names.len(), "a struct of the header is not in this test");
}
