//! What others said, as a terminal may show it.

/// Without what a terminal would take as a command, what changes the direction of writing, and what
/// breaks lines.
pub(super) fn clean(text: &str) -> String {
    let shown = |c: char| if is_harmful(c) { '?' } else { c };
    text.chars().map(shown).collect()
}

fn is_harmful(c: char) -> bool {
    // Unicode: Cc; Bidi_Control; Zl and Zp; what has no width and hides in a text.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// The same, of at most so many characters.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= columns {
        return text;
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    kept + "…"
}

/// `1:02:03`, or `2:03`.
pub(super) fn length(s: u64) -> String {
    let (hours, minutes, s) = (s / 3_600, s / 60 % 60, s % 60);
    match hours {
        0 => format!("{minutes}:{s:02}"),
        _ => format!("{hours}:{minutes:02}:{s:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let hostile = "a\u{1b}[2Jb\u{9b}31mc\r\n\u{7}\u{7f}\u{202e}d\u{2066}\u{200b}\u{e0041}";
        assert_eq!(clean(hostile), "a?[2Jb?31mc?????d???");
        assert_eq!(clean("Zoë 北京 +91-80"), "Zoë 北京 +91-80");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        assert_eq!(cut("12345", 5), "12345");
        assert_eq!(cut("123456", 5), "1234…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn lengths_are_minutes_or_hours() {
        let lengths = [0, 61, 3_599, 3_600, 360_000].map(length);
        assert_eq!(lengths, ["0:00", "1:01", "59:59", "1:00:00", "100:00:00"]);
    }
}
