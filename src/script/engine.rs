//! The engine of the language, with everything bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rhai::packages::{Package, StandardPackage};
use rhai::{Dynamic, Engine, Shared, Token};

use super::api::Api;
use super::catalog::Catalog;
use super::interrupt::Interrupt;
use super::keys;
use super::objects;
use super::state::{Output, State};
use crate::progress::Progress;

/// An engine with everything bound, and its state.
pub fn build(
    progress: Arc<dyn Progress>,
    interrupt: Interrupt,
    output: Output,
    start: (candle_core::Device, u64),
) -> (Engine, Arc<State>) {
    let mut engine = Engine::new_raw();
    engine.register_global_module(StandardPackage::new().as_shared_module());
    engine.set_module_resolver(rhai::module_resolvers::FileModuleResolver::new());
    let mut api = Api::default();
    objects::bind(&mut api);
    #[cfg(test)]
    super::tests::bind(&mut api);
    let (module, objects, options) = api.finish();
    engine.register_global_module(Shared::new(module));

    keys::allow(&mut engine);
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    // Debug builds of Rhai allow less than scripts need.
    engine.set_max_call_levels(128);
    engine.set_max_expr_depths(256, 128);

    let after_dot = AtomicBool::new(false);
    #[expect(deprecated, reason = "the language calls it volatile; there is no other way")]
    engine.on_parse_token(move |token, _, _| {
        // A word of the language, but a method's name behind a dot.
        let method = after_dot.swap(token == Token::Period, Ordering::Relaxed) && token == Token::Export;
        if method { Token::Identifier(Box::new("export".into())) } else { token }
    });

    let catalog = Catalog::of(&engine, &objects);
    let stop = interrupt.clone();
    engine.on_progress(move |_| stop.requested().then(|| Dynamic::from("interrupted")));
    let shown = output.clone();
    engine.on_print(move |text| {
        // A full disk behind a redirected output: nothing better can be done with it here.
        let _ = shown.line(text);
    });
    engine.on_debug(|text, source, position| match source {
        Some(source) => eprintln!("{source}:{position:?} {text}"),
        None => eprintln!("{position:?} {text}"),
    });
    let (progress_too, interrupt_too, output_too) = (progress.clone(), interrupt.clone(), output.clone());
    let state = Arc::new(State::new((objects, options, catalog), progress, interrupt, output, start));
    state.set_engine(move |device, seed| {
        build(progress_too.clone(), interrupt_too.clone(), output_too.clone(), (device, seed)).0
    });
    engine.set_default_tag(Dynamic::from(state.clone()));
    (engine, state)
}
