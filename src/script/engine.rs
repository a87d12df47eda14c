use std::sync::Arc;

use rhai::packages::{Package, StandardPackage};
use rhai::{Dynamic, Engine, FuncRegistration, ImmutableString, Module, Shared};

use super::catalog::Catalog;
use super::object::{Object, Objects};
use super::options::OptionSet;
use super::state::{Output, State};
use super::{Interrupt, objects};
use crate::progress::Progress;

/// What the bindings add to.
pub struct Api {
    /// Functions, methods and properties.
    pub module: Module,
    objects: Objects,
    options: Vec<&'static OptionSet>,
}

impl Api {
    /// Adds a type: its name, and its display wherever a string is made of it.
    pub fn object<T: Object>(&mut self) -> &mut Self {
        self.objects.add::<T>();
        self.module.set_custom_type::<T>(T::NAME);
        for name in [rhai::FUNC_TO_STRING, rhai::FUNC_TO_DEBUG] {
            let show = |value: &mut T| -> ImmutableString { value.show(Default::default()).into() };
            FuncRegistration::new(name).in_global_namespace().set_into_module(&mut self.module, show);
        }
        self
    }

    /// Adds the options of a call.
    pub fn options(&mut self, set: &'static OptionSet) -> &mut Self {
        self.options.push(set);
        self
    }
}

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
    let mut api = Api { module: Module::new(), objects: Objects::default(), options: Vec::new() };
    objects::bind(&mut api);
    engine.register_global_module(Shared::new(api.module));

    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    // Debug builds of Rhai allow less than scripts need.
    engine.set_max_call_levels(128);
    engine.set_max_expr_depths(256, 128);

    let catalog = Catalog::of(&engine, &api.objects);
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
    let state = Arc::new(State::new((api.objects, api.options, catalog), progress, interrupt, output, start));
    engine.set_default_tag(Dynamic::from(state.clone()));
    (engine, state)
}
