//! `revnet revolt audit`

use clap::Args;
use revnet_api::dto::{Audit, AuditEntry};

use crate::context::Context;
use crate::failure::Result;
use crate::names;
use crate::output::{line, table};
use crate::times;

#[derive(Debug, Args)]
#[command(after_help = "\
Every node works this out by itself from the signed acts of the members, and all come to the same answer.

Examples:
  revnet revolt audit Gardeners
  revnet revolt audit Gardeners --void
  revnet revolt audit Gardeners --json | jq '.[] | select(.act == \"ban\")'")]
pub(crate) struct AuditArgs {
    /// Which
    revolt: String,
    /// Only acts that count for nothing
    #[arg(long)]
    void: bool,
}

pub(crate) fn run(context: &Context, args: &AuditArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let Audit { mut acts } = client.get(&format!("/api/revolts/{}/audit", revolt.id))?;
    acts.retain(|act| !(args.void && act.counts));
    context.out.show(&acts, || {
        let rows: Vec<Vec<String>> = acts.iter().map(row).collect();
        table(&["WHEN (UTC)", "WHO", "ACT", "ABOUT", "VERDICT"], &rows)
    })
}

fn row(act: &AuditEntry) -> Vec<String> {
    let who = if act.by_name.is_empty() {
        format!("device {}", &act.device.to_string()[..10])
    } else {
        line(&act.by_name)
    };
    let verdict = if act.counts {
        act.why.clone()
    } else {
        format!("void: {}", act.why)
    };
    vec![
        times::short(i64::try_from(act.at_ms).unwrap_or(i64::MAX)),
        who,
        act.act.clone(),
        line(&act.about),
        line(&verdict),
    ]
}
