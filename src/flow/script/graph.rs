//! What leads where in a flow.

use super::context::{Context, Edge};
use super::error::ScriptError;
use super::{Applet, AppletIx, Step};

/// Refuses applets that lead to each other again and again, and none of which waits for anything: a
/// call in them would keep the switch busy for nothing.
pub(super) fn refuse_circles(context: &Context<'_>, applets: &[Applet]) {
    let edges = context.edges.borrow();
    let takes_no_time = |edge: &&Edge| {
        let from = applets.get(edge.from);
        from.is_some_and(|from| takes_no_time(&from.step, &edge.field))
    };
    // What is added behind leads nowhere.
    let mut leading: Vec<Vec<&Edge>> = vec![Vec::new(); applets.len()];
    for edge in edges.iter().filter(takes_no_time) {
        leading[edge.from].push(edge);
    }
    let mut seen = vec![false; applets.len()];
    for from in 0..applets.len() {
        circle_from(from, &leading, &mut seen, |circle| {
            let name = |ix: AppletIx| applets[ix].name.as_str();
            let mut shown: Vec<&str> = circle.iter().map(|edge| name(edge.from)).collect();
            shown.extend(circle.first().map(|edge| name(edge.from)));
            let shown = shown.join(" → ");
            if let Some(last) = circle.last() {
                let at = format!("applet.{}.{}", name(last.from), last.field);
                let why = format!("runs in a circle without waiting: {shown}");
                context.fail(last.offset, &at, why);
            }
        });
    }
}

/// Follows edges from an applet that was not seen, and tells of the circles that are closed.
fn circle_from<'a>(
    from: AppletIx,
    leading: &[Vec<&'a Edge>],
    seen: &mut [bool],
    mut tell: impl FnMut(&[&'a Edge]),
) {
    if std::mem::replace(&mut seen[from], true) {
        return;
    }
    // The way from `from` on: each applet with how many of its edges were followed.
    let mut way: Vec<(AppletIx, usize)> = vec![(from, 0)];
    let mut taken: Vec<&'a Edge> = Vec::new();
    while let Some((at, followed)) = way.last_mut() {
        let Some(edge) = leading[*at].get(*followed) else {
            way.pop();
            taken.pop();
            continue;
        };
        *followed += 1;
        let to = edge.to;
        if let Some(begins) = way.iter().position(|(on_way, _)| *on_way == to) {
            let circle: Vec<&Edge> = taken[begins..].iter().chain([edge]).copied().collect();
            tell(&circle);
        } else if !std::mem::replace(&mut seen[to], true) {
            way.push((to, 0));
            taken.push(edge);
        }
    }
}

/// Whether a call may leave an applet by a field at the moment it comes.
///
/// Who is called may be unknown, busy or away at once; an application may answer at once.
fn takes_no_time(step: &Step, field: &str) -> bool {
    match step {
        Step::Hours(_) | Step::Record { .. } | Step::Mask { .. } | Step::Playback { .. } => true,
        Step::Http(_) => field != "on-timeout",
        Step::Connect(_) | Step::Sticky(_) => field != "answered",
        Step::Queue(_) => field == "on-full",
        Step::Greeting { .. }
        | Step::Menu(_)
        | Step::Gather(_)
        | Step::Voicemail(_)
        | Step::Play { .. }
        | Step::Tone { .. }
        | Step::Echo { .. }
        | Step::MissedCall { .. }
        | Step::Hangup { .. } => false,
    }
}

/// Tells of applets that no call can come to.
pub(super) fn unreachable(
    context: &Context<'_>,
    applets: &[Applet],
    offsets: &[usize],
    start: AppletIx,
) -> Vec<ScriptError> {
    let edges = context.edges.borrow();
    let mut leading: Vec<Vec<AppletIx>> = vec![Vec::new(); applets.len()];
    for edge in edges.iter() {
        leading[edge.from].push(edge.to);
    }
    let mut reached = vec![false; applets.len()];
    let mut waiting = vec![start];
    while let Some(at) = waiting.pop() {
        if !std::mem::replace(&mut reached[at], true) {
            waiting.extend(&leading[at]);
        }
    }
    let lost = applets.iter().zip(offsets).zip(reached);
    lost.filter(|(_, reached)| !reached)
        .map(|((applet, offset), _)| {
            let at = format!("applet.{}", applet.name);
            context.error(*offset, &at, "nothing leads to it")
        })
        .collect()
}
