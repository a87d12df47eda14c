use std::collections::HashSet;

use rhai::{AST, ASTNode, EvalAltResult, Expr, FnCallExpr, Position, Stmt};

use super::catalog::Catalog;

/// Finds a call of a function that nobody has defined, before anything runs: a misspelt name at the end of a script
/// should not wait for an hour of training. Methods are looked up when they run, for their object's type is known
/// only then.
pub fn unknown_call(ast: &AST, functions: &AST, catalog: &Catalog) -> Option<Box<EvalAltResult>> {
    let mut known: HashSet<&str> = catalog.entries.iter().map(|entry| entry.name.as_str()).collect();
    known.extend(LANGUAGE);
    known.extend(ast.iter_functions().chain(functions.iter_functions()).map(|function| function.name));
    let mut found: Option<(String, usize, Position)> = None;
    let mut imports = false;
    let mut seen = |call: &FnCallExpr, position: Position| {
        if call.namespace.is_empty()
            && call.op_token.is_none()
            && !known.contains(call.name.as_str())
            && found.is_none()
        {
            found = Some((call.name.to_string(), call.args.len(), position));
        }
    };
    ast.walk(&mut |path: &[ASTNode]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => seen(call, *position),
            Some(ASTNode::Expr(Expr::FnCall(call, position))) => seen(call, *position),
            Some(ASTNode::Stmt(Stmt::Import(..))) => imports = true,
            _ => {}
        }
        true
    });
    let (name, arguments, position) = found?;
    // A module may bring functions into the global namespace.
    let signature = format!("{name} ({})", vec!["_"; arguments].join(", "));
    (!imports && rhai::is_valid_identifier(&name))
        .then(|| Box::new(EvalAltResult::ErrorFunctionNotFound(signature, position)))
}

/// What the language treats itself.
const LANGUAGE: [&str; 11] =
    ["print", "debug", "type_of", "eval", "Fn", "call", "curry", "is_def_var", "is_def_fn", "is_shared", "this"];
