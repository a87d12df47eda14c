//! A running script language: the one way to evaluate a text.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use espalier_kernels::allocator::Borrowing;
use rhai::{AST, ASTNode, Dynamic, Engine, EvalAltResult, LexError, Map, ParseErrorType, Scope, Stmt};

use super::catalog::Catalog;
use super::document::Document;
use super::explain::{Names, explain};
use super::failure::{Failure, Report, raise};
use super::interrupt::Interrupt;
use super::options::OptionSet;
use super::state::{Output, State};
use super::{check, engine, fault, scan};
use crate::progress::{Progress, Silent};

/// A running script language: variables, functions, and the one way to evaluate a text, be it a line at the prompt, a
/// file, or `-c`.
pub struct Session {
    engine: Engine,
    state: Arc<State>,
    scope: Scope<'static>,
    functions: AST,
    document: Document,
}

/// With what a session starts; by default nothing listens, and text goes to the standard output.
#[non_exhaustive]
pub struct Settings {
    /// Listens to long work.
    pub progress: Arc<dyn Progress>,
    /// Says when to stop.
    pub interrupt: Interrupt,
    /// Where values are shown.
    pub output: Output,
    /// The device for models.
    pub device: Device,
    /// The seed of whatever is random.
    pub seed: u64,
    /// The script's arguments, `args` in scripts.
    pub arguments: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            progress: Arc::new(Silent),
            interrupt: Interrupt::default(),
            output: Output::new(std::io::stdout(), false, false, false),
            device: Device::Cpu,
            seed: 0,
            arguments: Vec::new(),
        }
    }
}

impl Session {
    /// A fresh session.
    pub fn new(settings: Settings) -> Self {
        let start = (settings.device, settings.seed);
        let (engine, state) = engine::build(settings.progress, settings.interrupt, settings.output, start);
        let mut scope = Scope::new();
        let arguments: rhai::Array = settings.arguments.into_iter().map(Dynamic::from).collect();
        scope.push_dynamic("args", arguments.into());
        Self { engine, state, scope, functions: AST::empty(), document: Document::default() }
    }

    /// Evaluates a text under a name for messages, and gives its value: that of its last expression, or of the
    /// variable that its last statement defines; nothing when it ends in `;`.
    pub fn evaluate(&mut self, origin: &str, text: &str) -> Result<Dynamic, Failure> {
        // What one call leaves free the next will want; an idle prompt gives it back.
        let _memory = Borrowing::begin();
        self.state.interrupt.clear();
        let moved = self.document.add(origin, text);
        let result = fault::catch("the script language", || self.run(&moved, text));
        let result = result.unwrap_or_else(|fault| Err(raise(fault)));
        // Without this a re-`let` would keep the old value alive.
        self.scope = self.scope.clone_visible();
        if let Some(code) = self.state.take_exit() {
            return Err(Failure::Exit(code));
        }
        result.map_err(|error| match explain(&error, &self.document, &self.names()) {
            // Work that cannot give half a result says that it was stopped; the user knows.
            Failure::Error(_) if self.state.interrupt.requested() => Failure::Interrupted,
            failure => failure,
        })
    }

    /// What can be found wrong with a text without evaluating it.
    pub fn check(&mut self, origin: &str, text: &str) -> Result<(), Failure> {
        let moved = self.document.add(origin, text);
        self.checked(&moved).map(drop).map_err(|error| explain(&error, &self.document, &self.names()))
    }

    /// Evaluates a text and shows its value.
    pub fn evaluate_and_show(&mut self, origin: &str, text: &str) -> Result<(), Failure> {
        let value = self.evaluate(origin, text)?;
        self.show(&value)
    }

    /// A value as it is shown.
    pub fn text(&self, value: &Dynamic) -> String {
        self.state.text(value)
    }

    /// Shows a value; nothing, if it is none.
    pub fn show(&self, value: &Dynamic) -> Result<(), Failure> {
        if value.is_unit() {
            return Ok(());
        }
        let failed = |message: String, help: Option<&str>| {
            Failure::Error(Box::new(Report { message, help: help.map(str::to_owned), ..Report::default() }))
        };
        let text = fault::catch("showing the value", || self.text(value))
            .map_err(|fault| failed(fault.to_string(), Some(fault::REPORT)))?;
        self.state.output.line(&text).map_err(|error| failed(format!("cannot write the result: {error}"), None))
    }

    /// Evaluates a script file and shows its value. Modules that it imports are looked for beside it.
    pub fn run_file(&mut self, path: &Path) -> Result<(), Failure> {
        let failed = |message: String| Failure::Error(Box::new(Report { message, ..Report::default() }));
        let bytes = std::fs::read(path).map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| failed(format!("{} is no script: not UTF-8 ({error})", path.display())))?;
        if let Some(folder) = path.parent() {
            self.document.folder = folder.into();
            self.engine.set_module_resolver(rhai::module_resolvers::FileModuleResolver::new_with_path(folder));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        // A first line `#!…` is the shell's; blank it so that lines keep their numbers.
        let text = if text.starts_with("#!") { format!("//{text}") } else { text.to_owned() };
        self.evaluate_and_show(&path.display().to_string(), &text)
    }

    /// The error in a text that hasn't been evaluated, if it has one, and whether it is that the text ends too early.
    pub fn syntax(&self, text: &str) -> Syntax {
        let unclosed = scan::tokens(text).last().is_some_and(|token| match token.kind {
            scan::TokenKind::Text { closed: false, quote } => quote == '`',
            scan::TokenKind::Comment => text[token.range.clone()].starts_with("/*") && !text.trim_end().ends_with("*/"),
            _ => false,
        });
        if unclosed {
            return Syntax::Incomplete;
        }
        let Err(error) = self.engine.compile_with_scope(&self.scope, text) else { return Syntax::Complete };
        let lines: Vec<&str> = text.trim_end().split('\n').collect();
        let end = (lines.len(), lines.last().map_or(0, |line| line.trim_end().chars().count()));
        let position = error.position();
        let place = (position.line().unwrap_or(usize::MAX), position.position().unwrap_or(usize::MAX));
        match error.err_type() {
            ParseErrorType::BadInput(LexError::UnterminatedString) => Syntax::Wrong,
            ParseErrorType::UnexpectedEOF => Syntax::Incomplete,
            _ if place > end => Syntax::Incomplete,
            _ => Syntax::Wrong,
        }
    }

    /// What can be called.
    pub fn catalog(&self) -> &Catalog {
        &self.state.catalog
    }

    /// The option set of a call: of a method of `receiver` when there are several of this name.
    pub fn options(&self, call: &str, receiver: Option<&str>) -> Option<&'static OptionSet> {
        let named = || self.state.options.iter().copied().filter(|set| set.call == call);
        named().find(|set| set.receiver == receiver).or_else(|| named().next())
    }

    /// The variables: name, type, and value in a line; the newest last.
    pub fn variables(&self) -> Vec<(String, String, String)> {
        let row = |name: &str, value: &Dynamic| {
            let shown = self.state.objects.show(value, Default::default());
            (name.to_owned(), self.type_name(value), shown.lines().next().unwrap_or_default().to_owned())
        };
        self.scope.iter_raw().map(|(name, _, value)| row(name, value)).collect()
    }

    /// Defines a variable.
    pub fn define(&mut self, name: &str, value: Dynamic) {
        self.scope.push_dynamic(name.to_owned(), value);
    }

    /// A variable's value.
    pub fn variable(&self, name: &str) -> Option<&Dynamic> {
        self.scope.get(name)
    }

    /// The names of the functions that scripts have defined.
    pub fn functions(&self) -> Vec<String> {
        let names = self.functions.iter_functions().map(|function| function.name.to_owned());
        names.filter(|name| !name.starts_with("anon$")).collect()
    }

    /// A value's type as scripts call it.
    pub fn type_name(&self, value: &Dynamic) -> String {
        self.state.objects.name(value.type_id()).map_or_else(
            || match value.type_name() {
                "i64" => "int".into(),
                "f64" => "float".into(),
                other => self.engine.map_type_name(other).to_owned(),
            },
            str::to_owned,
        )
    }

    /// The name by which scripts call a Rust type of ours.
    pub fn type_name_of(&self, id: std::any::TypeId) -> Option<&'static str> {
        self.state.objects.name(id)
    }

    /// The Rust type that scripts call by this name.
    pub fn type_id(&self, name: &str) -> Option<std::any::TypeId> {
        use std::any::TypeId;
        match name {
            "string" => Some(TypeId::of::<rhai::ImmutableString>()),
            "array" => Some(TypeId::of::<rhai::Array>()),
            "map" => Some(TypeId::of::<Map>()),
            "int" => Some(TypeId::of::<i64>()),
            "float" => Some(TypeId::of::<f64>()),
            other => self.state.objects.id(other),
        }
    }

    /// Where values are shown.
    pub fn output(&self) -> &Output {
        &self.state.output
    }

    fn run(&mut self, moved: &str, text: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        let ast = self.checked(moved)?;
        let merged = self.functions.merge(&ast);
        self.functions = merged.clone_functions_only();
        let value: Dynamic = self.engine.eval_ast_with_scope(&mut self.scope, &merged)?;
        if scan::ends_in_semicolon(text) {
            return Ok(Dynamic::UNIT);
        }
        Ok(defined(&ast).and_then(|name| self.scope.get(&name).cloned()).unwrap_or(value).flatten())
    }

    /// The compiled text, unless something is wrong with it that can be seen.
    fn checked(&self, moved: &str) -> Result<AST, Box<EvalAltResult>> {
        let ast = self.engine.compile_with_scope(&self.scope, moved)?;
        let wrong = check::wrong_call(&ast, &self.functions, &self.state.catalog, &self.state.options);
        wrong.map_or(Ok(ast), Err)
    }

    fn names(&self) -> Names<'_> {
        let mut variables: Vec<String> = self.scope.iter_raw().map(|(name, _, _)| name.to_owned()).collect();
        variables.extend(self.document.last().map(super::document::Piece::defines).unwrap_or_default());
        Names { catalog: &self.state.catalog, variables, functions: self.functions() }
    }
}

/// Whether a text is a whole script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// It is.
    Complete,
    /// It would be, if it went on.
    Incomplete,
    /// It is wrong before its end.
    Wrong,
}

/// The variable that the last statement of a script defines.
fn defined(ast: &AST) -> Option<String> {
    let mut last = None;
    ast.walk(&mut |path: &[ASTNode]| {
        if let [ASTNode::Stmt(statement)] = path {
            last = match statement {
                Stmt::Var(definition, _, _) => Some(definition.0.name.to_string()),
                _ => None,
            };
        }
        true
    });
    last
}
