//! What can be found wrong with a script before anything runs: a misspelt name at its end should not wait for an hour
//! of training.

use std::collections::HashSet;

use rhai::{AST, ASTNode, EvalAltResult, Expr, FnCallExpr, Map, Position, Stmt};

use super::catalog::Catalog;
use super::failure::raise;
use super::options::OptionSet;

/// The first call of a function that nobody has defined, or with options that it doesn't take. Methods are looked up
/// when they run, for their object's type is known only then; of their options, those that no method of that name takes
/// are found.
pub fn wrong_call(
    ast: &AST,
    functions: &AST,
    catalog: &Catalog,
    options: &[&'static OptionSet],
) -> Option<Box<EvalAltResult>> {
    let own: HashSet<&str> =
        ast.iter_functions().chain(functions.iter_functions()).map(|function| function.name).collect();
    let mut known: HashSet<&str> = catalog.entries.iter().map(|entry| entry.name.as_str()).collect();
    known.extend(LANGUAGE);
    known.extend(&own);
    let mut found = None;
    let mut imports = false;
    let mut seen = |call: &FnCallExpr, position: Position, method: bool| {
        if found.is_some() || !call.namespace.is_empty() || call.op_token.is_some() {
            return;
        }
        let name = call.name.as_str();
        if !method && !known.contains(name) && rhai::is_valid_identifier(name) {
            let signature = format!("{name} ({})", vec!["_"; call.args.len()].join(", "));
            found = Some(Box::new(EvalAltResult::ErrorFunctionNotFound(signature, position)));
        } else if !own.contains(name) {
            found = wrong_options(call, position, options);
        }
    };
    ast.walk(&mut |path: &[ASTNode]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => seen(call, *position, false),
            Some(ASTNode::Expr(Expr::FnCall(call, position))) => seen(call, *position, false),
            Some(ASTNode::Expr(Expr::MethodCall(call, position))) => seen(call, *position, true),
            Some(ASTNode::Stmt(Stmt::Import(..))) => imports = true,
            _ => {}
        }
        true
    });
    // A module may bring functions into the global namespace.
    found.filter(|_| !imports)
}

/// If none of a call's option sets takes what is written there, the error of the one that knows most of it.
fn wrong_options(call: &FnCallExpr, position: Position, sets: &[&'static OptionSet]) -> Option<Box<EvalAltResult>> {
    let written = call.args.last()?;
    let constant = match written {
        Expr::DynamicConstant(value, _) => value.read_lock::<Map>().map(|map| map.clone()),
        Expr::Map(..) => None,
        _ => return None,
    };
    let check = |set: &&'static OptionSet| match (written, &constant) {
        (Expr::Map(map, _), _) => map.0.iter().try_for_each(|(key, _)| set.spec(key.as_str()).map(drop)),
        (_, Some(map)) => map.iter().try_for_each(|(key, value)| set.value(key, value).map(drop)),
        _ => Ok(()),
    };
    let known = |set: &&'static OptionSet| match (written, &constant) {
        (Expr::Map(map, _), _) => map.0.iter().filter(|(key, _)| set.spec(key.as_str()).is_ok()).count(),
        (_, Some(map)) => map.keys().filter(|key| set.spec(key).is_ok()).count(),
        _ => 0,
    };
    let named = sets.iter().filter(|set| set.call == call.name.as_str() && set.before < call.args.len());
    let results: Vec<_> = named.map(|set| (known(set), check(set))).collect();
    if results.iter().any(|(_, result)| result.is_ok()) {
        return None;
    }
    let most = results.iter().map(|(known, _)| *known).max()?;
    let mut error = raise(results.into_iter().find_map(|(known, result)| result.err().filter(|_| known == most))?);
    error.set_position(position);
    Some(error)
}

/// What the language treats itself.
const LANGUAGE: [&str; 11] =
    ["print", "debug", "type_of", "eval", "Fn", "call", "curry", "is_def_var", "is_def_fn", "is_shared", "this"];
