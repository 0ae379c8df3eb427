//! `bmsctl context`: agents by names, in a file of the user's. Says which agent a command is for; connects to none.

mod choice;
mod edit;
mod file;
mod name;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use self::choice::Environment;
use self::choice::{Choice, Place, choose};
use self::edit::Editor;
use self::file::Contexts;
pub(crate) use self::file::ContextsError;
pub(crate) use self::name::{ContextName, ContextNameInvalid};
use crate::cli::{Address, AddressArgs, AddressInvalid, ContextArgs, ContextCommand, SOCKET, ShowContextArgs, Typed};
use crate::error::CtlError;
use crate::exit::Exit;
use crate::output::Output;
use crate::table::{Fields, or_dash, table};

/// `context list`, and what `context remove` leaves.
#[derive(Debug, Serialize)]
struct ContextsView {
    /// The file.
    file: String,
    /// Name of the current one.
    current: Option<String>,
    contexts: Vec<ContextView>,
}

/// A context. Either `socket` is null, or the others are.
#[derive(Debug, Serialize)]
struct ContextView {
    name: String,
    /// Whether it is the one that is meant if nobody says which.
    current: bool,
    host: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    ca: Option<String>,
    socket: Option<String>,
}

/// Which agent a command is for. The file is not looked at if it does not matter.
pub(crate) fn address(args: &AddressArgs, environment: &Environment) -> Result<Address, CtlError> {
    let place = || environment.place(args.contexts.as_deref());
    match choose(args.typed()?, environment)? {
        Choice::Address(address) => Ok(address),
        Choice::Context(name) => {
            let place = place().ok_or(ContextsError::Nowhere)?;
            Ok(Contexts::read(&place)?.of(place.path(), &name)?.clone())
        }
        Choice::Current => {
            let contexts = place().map(|place| Contexts::read(&place)).transpose()?.unwrap_or_default();
            let current = contexts.current.as_ref().and_then(|name| contexts.all.get(name));
            Ok(current.cloned().unwrap_or_else(|| Address::Socket(PathBuf::from(SOCKET))))
        }
    }
}

/// Runs a command on contexts.
pub(crate) fn run(command: &ContextCommand, args: &AddressArgs, output: &Output) -> Result<Exit, CtlError> {
    let environment = Environment::of_process();
    let place = environment.place(args.contexts.as_deref()).ok_or(ContextsError::Nowhere)?;
    match command {
        ContextCommand::List => list(&place, output),
        ContextCommand::Show(named) => show(named, args, &environment, &place, output),
        ContextCommand::Use(ContextArgs { name }) => make_current(name, &place, output),
        ContextCommand::Set(ContextArgs { name }) => set(name, args, &place, output),
        ContextCommand::Remove(ContextArgs { name }) => remove(name, &place, output),
    }
}

fn list(place: &Place, output: &Output) -> Result<Exit, CtlError> {
    let contexts = Contexts::read(place)?;
    output.result(&ContextsView::of(place.path(), &contexts), table_of)?;
    Ok(Exit::Done)
}

fn show(
    named: &ShowContextArgs,
    args: &AddressArgs,
    environment: &Environment,
    place: &Place,
    output: &Output,
) -> Result<Exit, CtlError> {
    let contexts = Contexts::read(place)?;
    let typed = named.name.clone().or_else(|| args.context.clone());
    let name = match typed {
        Some(name) => Some(name),
        None => environment.context()?.or_else(|| contexts.current.clone()),
    };
    let name = name.ok_or_else(|| ContextsError::NoCurrent { path: place.path().to_owned() })?;
    let address = contexts.of(place.path(), &name)?;
    output.result(&ContextView::of(&name, address, &contexts), fields_of)?;
    Ok(Exit::Done)
}

fn make_current(name: &ContextName, place: &Place, output: &Output) -> Result<Exit, CtlError> {
    let mut file = Editor::open(place)?;
    file.make_current(name)?;
    changed(name, place, &file.save()?, output)
}

fn set(name: &ContextName, args: &AddressArgs, place: &Place, output: &Output) -> Result<Exit, CtlError> {
    let address = match args.typed()? {
        Typed::Address(address) => address,
        Typed::Context(_) | Typed::Nothing => return Err(AddressInvalid::Nothing.into()),
    };
    let mut file = Editor::open(place)?;
    file.set(name, &address)?;
    changed(name, place, &file.save()?, output)
}

fn remove(name: &ContextName, place: &Place, output: &Output) -> Result<Exit, CtlError> {
    let mut file = Editor::open(place)?;
    let current = file.remove(name)?;
    let contexts = file.save()?;
    if current {
        output.note("no context is the current one now: commands are for the agent on this server");
    }
    output.result(&ContextsView::of(place.path(), &contexts), table_of)?;
    Ok(Exit::Done)
}

/// Shows a context after a change.
fn changed(name: &ContextName, place: &Place, contexts: &Contexts, output: &Output) -> Result<Exit, CtlError> {
    let address = contexts.of(place.path(), name)?;
    output.result(&ContextView::of(name, address, contexts), fields_of)?;
    Ok(Exit::Done)
}

impl ContextsView {
    fn of(path: &Path, contexts: &Contexts) -> Self {
        Self {
            file: path.display().to_string(),
            current: contexts.current.as_ref().map(ContextName::to_string),
            contexts: contexts.all.iter().map(|(name, address)| ContextView::of(name, address, contexts)).collect(),
        }
    }
}

impl ContextView {
    fn of(name: &ContextName, address: &Address, contexts: &Contexts) -> Self {
        let path = |path: &PathBuf| Some(path.display().to_string());
        let (host, files, socket) = match address {
            Address::Socket(socket) => (None, None, path(socket)),
            Address::Host(host, files) => (Some(host.to_string()), Some(files), None),
        };
        Self {
            name: name.to_string(),
            current: contexts.current.as_ref() == Some(name),
            host,
            cert: files.and_then(|files| path(&files.cert)),
            key: files.and_then(|files| path(&files.key)),
            ca: files.and_then(|files| path(&files.ca)),
            socket,
        }
    }

    /// Where its agent is.
    fn agent(&self) -> String {
        or_dash(self.host.as_deref().or(self.socket.as_deref()))
    }
}

fn table_of(view: &ContextsView) -> String {
    if view.contexts.is_empty() {
        return format!("no contexts in {}", view.file);
    }
    let rows = view.contexts.iter().map(|context| {
        let current = if context.current { "*" } else { "" };
        [current.to_owned(), context.name.clone(), context.agent(), or_dash(context.cert.as_deref())]
    });
    table(["current", "name", "agent", "certificate"], rows)
}

fn fields_of(view: &ContextView) -> String {
    Fields::new()
        .field("name", &view.name)
        .field("current", if view.current { "yes" } else { "no" })
        .maybe("host", view.host.as_deref())
        .maybe("cert", view.cert.as_deref())
        .maybe("key", view.key.as_deref())
        .maybe("ca", view.ca.as_deref())
        .maybe("socket", view.socket.as_deref())
        .into_text()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::{Environment, address};
    use crate::cli::{Address, AddressArgs, SOCKET};
    use crate::error::CtlError;
    use crate::exit::Exit;

    const TWO: &str = "[contexts.a]\nsocket = \"/a\"\n[contexts.b]\nsocket = \"/b\"\n";

    /// Which socket a command goes to, with a file of this text for the user.
    fn reached(text: Option<&str>, args: &AddressArgs, context: Option<&str>) -> Result<PathBuf, CtlError> {
        let home = tempfile::tempdir().expect("directory");
        let path = home.path().join(".config/bmsctl/config.toml");
        if let Some(text) = text {
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
        }
        let environment = Environment {
            home: Some(home.path().to_owned()),
            context: context.map(Into::into),
            ..Environment::default()
        };
        match address(args, &environment)? {
            Address::Socket(socket) => Ok(socket),
            Address::Host(host, _) => panic!("{host}"),
        }
    }

    #[test]
    fn a_name_is_looked_up_and_the_current_context_is_for_those_who_say_nothing() {
        let nothing = AddressArgs::default();
        let named = AddressArgs { context: Some("b".parse().expect("a name")), ..AddressArgs::default() };
        let current = format!("current = \"a\"\n{TWO}");
        for (text, args, context, socket) in [
            (None, &nothing, None, SOCKET),
            (Some(TWO), &nothing, None, SOCKET),
            (Some(&current), &nothing, None, "/a"),
            (Some(&current), &nothing, Some("b"), "/b"),
            (Some(&current), &named, Some("a"), "/b"),
        ] {
            let found = reached(text, args, context).expect("an agent");
            assert_eq!(found, PathBuf::from(socket), "{text:?} {context:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_there_is_refused_and_nothing_taken_for_it() {
        for (text, context) in [(None, Some("a")), (Some(TWO), Some("c")), (Some("current = \"a\"\n"), None)] {
            let error = reached(text, &AddressArgs::default(), context).expect_err("not there");
            assert!(error.to_string().contains("has no context"), "{error}");
            assert_eq!(error.exit(), Exit::Refused);
        }
    }

    #[test]
    fn a_file_that_makes_no_sense_matters_only_if_it_decides() {
        let nothing = AddressArgs::default();
        let error = reached(Some("nonsense"), &nothing, None).expect_err("malformed");
        assert!(error.to_string().ends_with("is no file of contexts"), "{error}");
        let socket = AddressArgs { socket: Some("/s".into()), ..AddressArgs::default() };
        assert_eq!(reached(Some("nonsense"), &socket, None).expect("typed"), PathBuf::from("/s"));
    }
}
