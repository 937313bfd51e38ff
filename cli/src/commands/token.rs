//! `revnet token`

use clap::{Args, Subcommand, ValueEnum};
use revnet_api::dto::{CreatedToken, NewToken, Scope, Token, Tokens};

use crate::context::Context;
use crate::failure::Result;
use crate::names;
use crate::output::{line, table};
use crate::times;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, once
    New(NewArgs),
    /// List the tokens
    List,
    /// Revoke a token
    Revoke {
        /// Its name, id, or the beginning of its id
        token: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Scopes: 'read' sees everything that you see; 'write' also acts as you; 'admin' also reaches your \
identity, the tokens and shutdown. Give a bot no more than it needs.

Examples:
  revnet token new --scope write weather-bot
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:7373/api/status")]
pub(crate) struct NewArgs {
    /// What it is for
    name: String,
    /// What it allows
    #[arg(long, value_enum)]
    scope: ScopeArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    Read,
    Write,
    Admin,
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Read => Self::Read,
            ScopeArg::Write => Self::Write,
            ScopeArg::Admin => Self::Admin,
        }
    }
}

pub(crate) fn run(context: &Context, command: &TokenCommand) -> Result<()> {
    match command {
        TokenCommand::New(args) => new(context, args),
        TokenCommand::List => list(context),
        TokenCommand::Revoke { token } => revoke(context, token),
    }
}

fn new(context: &Context, args: &NewArgs) -> Result<()> {
    let new = NewToken {
        name: args.name.clone(),
        scope: args.scope.into(),
    };
    let created: CreatedToken = context.client()?.post("/api/tokens", &new)?;
    context.out.show(&created, || created.token.clone())
}

fn list(context: &Context) -> Result<()> {
    let Tokens { tokens } = context.client()?.get("/api/tokens")?;
    context.out.show(&tokens, || {
        if tokens.is_empty() {
            return "There are no tokens. Make one with 'revnet token new'.".to_owned();
        }
        let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
        table(&["TOKEN", "SCOPE", "MADE (UTC)", "ID"], &rows)
    })
}

fn row(token: &Token) -> Vec<String> {
    vec![
        line(&token.name),
        token.scope.name().to_owned(),
        times::short(i64::try_from(token.created_ms).unwrap_or(i64::MAX)),
        token.id.clone(),
    ]
}

fn revoke(context: &Context, wanted: &str) -> Result<()> {
    let client = context.client()?;
    let Tokens { tokens } = client.get("/api/tokens")?;
    let token = names::pick("token", wanted, &tokens, |token| {
        (token.id.clone(), &token.name)
    })?;
    client.delete(&format!("/api/tokens/{}", token.id))?;
    context.out.done("The token is revoked.")
}
