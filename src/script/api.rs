//! What scripts can call: the bindings add types, options and functions; the language's module is made of them.

use std::any::TypeId;
use std::collections::HashMap;

use rhai::plugin::{FnManifestEntry, ModuleManifest, PluginFunc};
use rhai::{
    Dynamic, Engine, EvalAltResult, FuncMetadata, FuncRegistration, ImmutableString, Map, Module, NativeCallContext,
    RhaiFunc,
};

use super::failure::raise;
use super::fault;
use super::object::{Object, Objects};
use super::options::OptionSet;

/// What the bindings add to.
#[derive(Default)]
pub struct Api {
    module: Module,
    objects: Objects,
    options: Vec<&'static OptionSet>,
    functions: Vec<&'static FnManifestEntry>,
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

    /// Adds functions, methods and properties. One whose last parameter is `options: Map` can also be called without it.
    pub fn functions(&mut self, exported: &'static ModuleManifest) -> &mut Self {
        self.functions.extend(exported.functions());
        self
    }

    /// Adds an operator between two types, or a function of two values that needs no words.
    pub fn operator<A, B, R>(
        &mut self,
        name: &'static str,
        of: impl Fn(A, B) -> Result<R, Box<EvalAltResult>> + Send + Sync + 'static,
    ) -> &mut Self
    where
        A: Clone + Send + Sync + 'static,
        B: Clone + Send + Sync + 'static,
        R: Clone + Send + Sync + 'static,
    {
        FuncRegistration::new(name).in_global_namespace().set_into_module(&mut self.module, of);
        self
    }

    /// Lets `for` loops go over values of a type.
    pub fn iterator<T: Object>(&mut self, iterate: fn(T) -> Box<dyn Iterator<Item = Dynamic>>) -> &mut Self {
        self.module.set_iter(TypeId::of::<T>(), move |value| iterate(value.cast::<T>()));
        self
    }

    /// All that was added: a module for an engine, the types, and the options of the calls.
    pub fn finish(mut self) -> (Module, Objects, Vec<&'static OptionSet>) {
        let described = described(&self.functions);
        for function in self.functions {
            let metadata = &described[&function.calc_hash(&[])];
            let mut types = Vec::new();
            function.with_param_types(&mut |found| types = found.to_vec());
            let registration = || FuncRegistration::new(function.name()).with_namespace(function.namespace());
            let result = [metadata.return_type.clone()];
            let call = |default_options| Call { function: function.func(), name: function.name(), default_options };
            let takes_options = metadata.params_info.last().is_some_and(|last| last.starts_with("options:"));
            if let (true, Some((_, fewer))) = (takes_options, types.split_last()) {
                let parameters = metadata.params_info[..fewer.len()].iter().chain(&result);
                let shorter = registration().with_params_info(parameters);
                shorter.set_into_module_raw(&mut self.module, fewer, RhaiFunc::from(call(true)));
            }
            registration()
                .with_params_info(metadata.params_info.iter().chain(&result))
                .with_comments(&metadata.comments)
                .set_into_module_raw(&mut self.module, &types, RhaiFunc::from(call(false)));
        }
        (self.module, self.objects, self.options)
    }
}

/// Names and types of parameters and documentation, by the functions' hashes. Only an engine tells them.
fn described(functions: &[&'static FnManifestEntry]) -> HashMap<u64, FuncMetadata> {
    let mut module = Module::new();
    for function in functions {
        function.register_into(&mut module);
    }
    let mut engine = Engine::new_raw();
    engine.register_global_module(module.into());
    let described = engine.collect_fn_metadata(None, |info| Some((info.metadata.hash, info.metadata.clone())), false);
    described.into_iter().collect()
}

/// A function as scripts call it: a panic in it becomes an error.
struct Call {
    function: &'static (dyn PluginFunc + Send + Sync),
    name: &'static str,
    /// Whether the options, its last parameter, are left out and all at their defaults.
    default_options: bool,
}

impl PluginFunc for Call {
    fn call(&self, context: Option<NativeCallContext>, args: &mut [&mut Dynamic]) -> rhai::plugin::RhaiResult {
        let mut options = Dynamic::from_map(Map::new());
        let mut all: Vec<&mut Dynamic> = args.iter_mut().map(|argument| &mut **argument).collect();
        if self.default_options {
            all.push(&mut options);
        }
        let name = self.name.strip_prefix("get$").unwrap_or(self.name);
        let result = fault::catch(&format!("`{name}`"), || self.function.call(context, &mut all));
        result.unwrap_or_else(|fault| Err(raise(fault)))
    }

    fn is_method_call(&self) -> bool {
        self.function.is_method_call()
    }

    fn has_context(&self) -> bool {
        self.function.has_context()
    }

    fn is_pure(&self) -> bool {
        self.function.is_pure()
    }

    fn is_volatile(&self) -> bool {
        self.function.is_volatile()
    }
}
