//! What belongs to no object: printing, help, the seed, the device, leaving.

use rhai::plugin::*;

use super::result::ScriptResult;
use crate::script::api::Api;
use crate::script::device::{device_name, parse_device};
use crate::script::failure::{ErrorValue, raise, raise_text};
use crate::script::help;
use crate::script::state::State;

pub fn bind(api: &mut Api) {
    api.object::<ErrorValue>();
    api.functions(exported_manifest!(functions));
}

#[export_module(manifest)]
mod functions {
    use rhai::{Array, Dynamic, ImmutableString, Map};

    /// Shows a value: tables as tables, everything else as text; with `--json` as a line of JSON.
    #[rhai_fn(name = "print")]
    pub fn print(context: NativeCallContext, value: Dynamic) -> ImmutableString {
        State::of(&context).text(&value).into()
    }

    #[rhai_fn(name = "print")]
    pub fn print_string(context: NativeCallContext, value: ImmutableString) -> ImmutableString {
        State::of(&context).text(&value.into()).into()
    }

    #[rhai_fn(name = "print")]
    pub fn print_array(context: NativeCallContext, value: Array) -> ImmutableString {
        State::of(&context).text(&value.into()).into()
    }

    #[rhai_fn(name = "print")]
    pub fn print_map(context: NativeCallContext, value: Map) -> ImmutableString {
        State::of(&context).text(&value.into()).into()
    }

    #[rhai_fn(name = "print")]
    pub fn print_float(context: NativeCallContext, value: f64) -> ImmutableString {
        State::of(&context).text(&value.into()).into()
    }

    #[rhai_fn(name = "print")]
    pub fn print_flag(context: NativeCallContext, value: bool) -> ImmutableString {
        State::of(&context).text(&value.into()).into()
    }

    #[rhai_fn(name = "print")]
    pub fn print_char(context: NativeCallContext, value: char) -> ImmutableString {
        State::of(&context).text(&value.into()).into()
    }

    #[rhai_fn(name = "print")]
    pub fn print_unit(context: NativeCallContext, value: ()) -> ImmutableString {
        State::of(&context).text(&value.into()).into()
    }

    /// Lists everything that can be called.
    #[rhai_fn(name = "help")]
    pub fn help_overview(context: NativeCallContext) -> ImmutableString {
        let state = State::of(&context);
        help::overview(&state.catalog, state.output.view()).into()
    }

    /// Tells all about a function, a method or a type: how it is called, what it does, what options it takes.
    #[rhai_fn(name = "help", return_raw)]
    pub fn help_about(context: NativeCallContext, name: ImmutableString) -> ScriptResult<ImmutableString> {
        let state = State::of(&context);
        let text = help::about(&name, &state.catalog, &state.options, state.output.view());
        text.map(ImmutableString::from).map_err(raise)
    }

    /// Sets the seed of whatever is random from here on: the same script, seed and machine give the same numbers.
    #[rhai_fn(name = "seed", return_raw)]
    pub fn set_seed(context: NativeCallContext, n: i64) -> ScriptResult<()> {
        let n = u64::try_from(n).map_err(|_| raise_text(format!("seed takes a whole number from 0 up, not {n}")))?;
        State::of(&context).set_seed(n);
        Ok(())
    }

    /// The seed in force.
    #[rhai_fn(name = "seed")]
    pub fn seed(context: NativeCallContext) -> i64 {
        i64::try_from(State::of(&context).seed()).unwrap_or(i64::MAX)
    }

    /// Sets the device on which models are loaded and built from here on: `cpu`, `cuda`, `cuda:1`, `metal`.
    #[rhai_fn(name = "device", return_raw)]
    pub fn set_device(context: NativeCallContext, name: ImmutableString) -> ScriptResult<()> {
        State::of(&context).set_device(parse_device(&name).map_err(raise)?);
        Ok(())
    }

    /// The name of the device in force.
    #[rhai_fn(name = "device")]
    pub fn device(context: NativeCallContext) -> ImmutableString {
        device_name(&State::of(&context).device()).into()
    }

    /// Ends the program with code 0.
    #[rhai_fn(name = "exit", return_raw)]
    pub fn exit(context: NativeCallContext) -> ScriptResult<()> {
        State::of(&context).request_exit(0);
        Err(Box::new(EvalAltResult::Exit(Dynamic::UNIT, Position::NONE)))
    }

    /// Ends the program with this code.
    #[rhai_fn(name = "exit", return_raw)]
    pub fn exit_with(context: NativeCallContext, code: i64) -> ScriptResult<()> {
        let code =
            u8::try_from(code).map_err(|_| raise_text(format!("exit takes a code from 0 to 255, not {code}")))?;
        State::of(&context).request_exit(code.into());
        Err(Box::new(EvalAltResult::Exit(Dynamic::UNIT, Position::NONE)))
    }
}
