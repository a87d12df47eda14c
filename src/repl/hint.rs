//! What is shown behind the cursor: the signature of the open call, or its options.

use super::complete::option_set;
use super::infer::infer;
use crate::script::scan;
use crate::script::{Entry, Session};

/// What is shown, dimly, behind the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What is shown.
    pub display: String,
    /// What the right arrow puts into the line.
    pub insert: Option<String>,
}

impl rustyline::hint::Hint for Hint {
    fn display(&self) -> &str {
        &self.display
    }

    fn completion(&self) -> Option<&str> {
        self.insert.as_deref()
    }
}

/// The signature of the call that is open, or the options that it still takes.
pub fn hint(session: &Session, before: &str) -> Option<Hint> {
    let in_string = matches!(scan::tokens(before).last(), Some(token) if matches!(token.kind, scan::TokenKind::Text { closed: false, .. }));
    let call = scan::open_call(before).filter(|_| !in_string && before.ends_with(['(', ',', ' ', '{']))?;
    let display = match &call.options {
        Some(options) => {
            let specs = option_set(session, before, &call)?.inside(&options.within);
            match &options.value_of {
                Some(key) => {
                    let spec = specs.iter().find(|spec| spec.key == key)?;
                    format!("{}  ({})", spec.kind, spec.summary())
                }
                None => {
                    let open = specs.iter().filter(|spec| !options.keys.iter().any(|key| key == spec.key));
                    open.map(|spec| spec.key).collect::<Vec<_>>().join(", ")
                }
            }
        }
        None => signature(session, before, &call)?,
    };
    Some(Hint { display: format!("  {display}"), insert: None })
}

fn signature(session: &Session, before: &str, call: &scan::OpenCall) -> Option<String> {
    let receiver = before[..call.at].trim_end().strip_suffix('.').map(|object| infer(session, object));
    let fits = |entry: &&Entry| match &receiver {
        None => entry.receiver.is_none(),
        Some(Some(object)) => entry.receiver.as_ref().is_some_and(|receiver| receiver.id == object.type_id()),
        Some(None) => entry.receiver.is_some() && entry.own,
    };
    let entry = session.catalog().named(&call.name).find(fits)?;
    let params: Vec<String> = entry.params.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
    Some(format!("{})", params.join(", ")))
}
