//! Sessions sent as one line: the header once, the events in `data`, as an array or as that array in a string.

use super::line::{HEADER, Head, Key, close, own_keys, put_field};
use super::session::Event;

/// Appends an envelope of these events, without the line's end. `form` decides how it looks and what is wrong with it.
pub fn put(out: &mut Vec<u8>, head: &Head, events: &[Event], form: u64) {
    let Some(first) = events.first() else { return };
    out.push(b'{');
    for key in HEADER {
        put_field(out, head, &Event { logged_in: true, ..*first }, key);
    }
    match form % 4 {
        1 => out.extend_from_slice(b"\"channel\":\"appstore\",\"sent\":{\"by\":\"sdk\",\"try\":1},"),
        // It names the delivery, none of the events.
        2 => out.extend_from_slice(format!("\"event_id\":\"delivery-{form}\",").as_bytes()),
        _ => {}
    }
    out.extend_from_slice(b"\"data\":");
    if form % 3 == 2 {
        let mut data = Vec::new();
        put_elements(&mut data, head, events, form);
        out.push(b'"');
        for byte in data {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    } else {
        put_elements(out, head, events, form);
    }
    out.push(b'}');
}

fn put_elements(out: &mut Vec<u8>, head: &Head, events: &[Event], form: u64) {
    out.push(b'[');
    for (index, event) in events.iter().enumerate() {
        out.push(b'{');
        if head.has_ids() {
            put_field(out, head, event, Key::EventId);
        }
        for key in [Key::Act, Key::Acttime].iter().chain(own_keys(event)) {
            put_field(out, head, event, *key);
        }
        if !event.logged_in {
            // Its own value wins over the header's.
            out.extend_from_slice(b"\"uid\":0,");
        }
        if form % 5 == 3 && index == 1 {
            out.extend_from_slice(b"\"net\":\"3\",\"channel\":\"web\",");
        }
        close(out, b'}');
        out.push(b',');
        if form % 5 == 1 && index == 0 {
            bad_element(out, event, form);
        }
    }
    close(out, b']');
}

/// Appends an element that is rejected on its own.
fn bad_element(out: &mut Vec<u8>, event: &Event, form: u64) {
    let bad = match form / 5 % 5 {
        0 => "17".to_owned(),
        1 => format!("{{\"acttime\":{}}}", event.acttime),
        2 => format!("{{\"act\":8,\"acttime\":{}}}", event.acttime),
        3 => format!("{{\"act\":1,\"acttime\":{},\"loading_time\":\"fast\"}}", event.acttime),
        _ => "null".to_owned(),
    };
    out.extend_from_slice(bad.as_bytes());
    out.push(b',');
}
