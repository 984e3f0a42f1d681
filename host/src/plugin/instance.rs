//! Components that are ready to run, and their live instances: one store for each worker and step.

use super::bindings::{fold, functions, host, sink, source, stateful, transform};
use super::engine::{self, Calling, Engines};
use super::failure::{self, Circumstances};
use super::identify::Interface;
use super::validate::Lie;
use super::wasi::{self, Allow, Owner, Printed};
use crate::catalog::function::StepLimits;
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::InstanceCx;
use crate::telemetry::meter::StepMeter;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{
    Component, ComponentNamedList, HasSelf, Instance, InstancePre, Lift, Linker, Lower, ResourceTable, TypedFunc,
};
use wasmtime::{ResourceLimiter, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// The version of the contract by which exports are looked up; finds later compatible ones too.
const VERSION: &str = "0.1.0";
/// What a guest's tables may hold. They take a pointer each, outside of its memory.
const TABLE_ELEMENTS: usize = 1 << 20;
/// How many counters of its own an instance may have, and the longest name in bytes.
const COUNTERS: usize = 256;
const COUNTER_NAME: usize = 128;

/// A component that was compiled for one engine and linked.
pub(super) struct Compiled {
    /// The plugin's name in the flow.
    pub(super) plugin: Arc<str>,
    engines: Arc<Engines>,
    allow: Allow,
    pre: InstancePre<HostState>,
    pub(super) functions: functions::GuestIndices,
    pub(super) transform: Option<transform::GuestIndices>,
    pub(super) fold: Option<fold::GuestIndices>,
    pub(super) stateful: Option<stateful::GuestIndices>,
    pub(super) source: Option<source::GuestIndices>,
    pub(super) sink: Option<sink::GuestIndices>,
}

impl Compiled {
    /// Links a component, which offers the interfaces `offered`.
    ///
    /// # Errors
    /// What it imports or exports is not of the contract's types.
    pub(super) fn new(
        plugin: Arc<str>,
        engines: Arc<Engines>,
        allow: Allow,
        component: &Component,
        offered: &[Interface],
    ) -> wasmtime::Result<Compiled> {
        let mut linker = Linker::<HostState>::new(component.engine());
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        host::add_to_linker::<_, HasSelf<HostState>>(&mut linker, |state| state)?;
        let pre = linker.instantiate_pre(component)?;
        let offers = |interface| offered.contains(&interface);
        Ok(Compiled {
            functions: functions::GuestIndices::new(&pre)?,
            transform: offers(Interface::Transform).then(|| transform::GuestIndices::new(&pre)).transpose()?,
            fold: offers(Interface::Fold).then(|| fold::GuestIndices::new(&pre)).transpose()?,
            stateful: offers(Interface::Stateful).then(|| stateful::GuestIndices::new(&pre)).transpose()?,
            source: offers(Interface::Source).then(|| source::GuestIndices::new(&pre)).transpose()?,
            sink: offers(Interface::Sink).then(|| sink::GuestIndices::new(&pre)).transpose()?,
            plugin,
            engines,
            allow,
            pre,
        })
    }
}

/// A live instance. `what` names its function in messages.
pub(super) struct Guest {
    store: Store<HostState>,
    instance: Instance,
    what: String,
    limits: StepLimits,
    engines: Arc<Engines>,
    /// Why the instance can no longer be used.
    failure: Option<String>,
}

impl Guest {
    /// Makes an instance.
    ///
    /// # Errors
    /// Its start failed, or what it is allowed is not there.
    pub(super) fn new(
        compiled: &Compiled,
        what: String,
        cx: &InstanceCx,
        limits: &StepLimits,
    ) -> Result<Guest, LogicError> {
        let owner = Owner { plugin: Arc::clone(&compiled.plugin), step: cx.step.clone(), worker: cx.worker };
        let (wasi, stderr) = wasi::context(&compiled.allow, &owner, &cx.env).map_err(LogicError::external)?;
        let limiter = Limiter { limit: limits.memory, held: 0, has_refused: false };
        let (env, meter) = (cx.env.clone(), Arc::clone(&cx.meter));
        let state = HostState {
            wasi,
            table: ResourceTable::new(),
            limiter,
            owner,
            env,
            meter,
            stderr,
            counters: BTreeSet::new(),
            has_refused_counter: false,
        };
        let mut store = Store::new(compiled.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        // A truthful guest cannot return more than it holds; one that names a buffer many times could.
        let returned = limits.memory.unwrap_or(u64::from(u32::MAX));
        store.set_hostcall_fuel(usize::try_from(returned).unwrap_or(usize::MAX));
        let limited = Limited::start(&compiled.engines, &mut store, limits);
        let instance = compiled.pre.instantiate(&mut store);
        drop(limited);
        match instance {
            Ok(instance) => {
                let (limits, engines) = (limits.clone(), Arc::clone(&compiled.engines));
                Ok(Guest { store, instance, what, limits, engines, failure: None })
            }
            Err(error) => Err(explain(&error, &what, limits, &store)),
        }
    }

    /// Gets at the instance's exports.
    ///
    /// # Errors
    /// They are not as they were when the component was linked, which cannot be.
    pub(super) fn load<G>(
        &mut self,
        load: impl FnOnce(&mut Store<HostState>, &Instance) -> wasmtime::Result<G>,
    ) -> Result<G, LogicError> {
        load(&mut self.store, &self.instance).map_err(|error| LogicError::internal(format!("{}: {error}", self.what)))
    }

    /// Looks up a function by types of our own.
    ///
    /// # Errors
    /// It has other types.
    pub(super) fn function<P, R>(&mut self, interface: Interface, name: &str) -> Result<TypedFunc<P, R>, LogicError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let component = self.instance.instance_pre(&self.store);
        let component = component.component();
        let exported = component
            .get_export_index(None, format!("wxhost:plugin/{interface}@{VERSION}"))
            .and_then(|interface| component.get_export_index(Some(&interface), name));
        let found = exported.map(|index| self.instance.get_typed_func(&mut self.store, index));
        match found {
            Some(Ok(function)) => Ok(function),
            Some(Err(error)) => {
                Err(failure::broke_contract(&self.what, &format!("a function \"{name}\" of other types ({error:#})")))
            }
            None => Err(failure::broke_contract(&self.what, &format!("no function \"{name}\""))),
        }
    }

    /// Calls into the guest, within its limits.
    ///
    /// # Errors
    /// It trapped or broke a limit, now or in an earlier call.
    pub(super) fn call<R>(
        &mut self,
        call: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<R>,
    ) -> Result<R, LogicError> {
        if let Some(failure) = &self.failure {
            return Err(
                LogicError::plugin(format!("{} cannot be called again after it failed", self.what)).note(failure)
            );
        }
        self.store.data_mut().limiter.has_refused = false;
        let limited = Limited::start(&self.engines, &mut self.store, &self.limits);
        let result = call(&mut self.store);
        drop(limited);
        result.map_err(|error| {
            let error = explain(&error, &self.what, &self.limits, &self.store);
            self.failure = Some(error.message.clone());
            error
        })
    }

    /// Calls into the guest, which may itself return an error.
    ///
    /// # Errors
    /// As for `call`, or what the guest returned. The latter leaves the instance as it is.
    pub(super) fn ask<R>(
        &mut self,
        call: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<Result<R, super::bindings::types::Error>>,
    ) -> Result<R, LogicError> {
        self.call(call)?.map_err(|error| failure::returned(&self.what, error))
    }

    /// Makes the error of a guest that broke the contract; what it holds is not to be trusted either.
    pub(super) fn caught(&mut self, lie: Lie) -> LogicError {
        let error = failure::broke_contract(&self.what, &lie.0);
        self.failure = Some(error.message.clone());
        error
    }

    /// The time, to be given to `account` later.
    pub(super) fn started(&self) -> Duration {
        self.store.data().env.clock.elapsed()
    }

    /// Accounts for a call, its conversions included, that began at `started`.
    pub(super) fn account(&self, started: Duration) {
        let state = self.store.data();
        state.meter.called(state.env.clock.elapsed().saturating_sub(started), state.limiter.held);
    }
}

fn explain(error: &wasmtime::Error, what: &str, limits: &StepLimits, store: &Store<HostState>) -> LogicError {
    let state = store.data();
    let (is_out_of_memory, stderr) = (state.limiter.has_refused, state.stderr.tail());
    failure::explain(error, &Circumstances { what, limits, is_out_of_memory, stderr })
}

/// A call with a deadline, or one without.
struct Limited<'a>(#[expect(dead_code, reason = "is dropped")] Option<Calling<'a>>);

impl<'a> Limited<'a> {
    fn start(engines: &'a Engines, store: &mut Store<HostState>, limits: &StepLimits) -> Limited<'a> {
        Limited(limits.time_per_batch.map(|limit| {
            store.set_epoch_deadline(engine::ticks(limit));
            engines.calling()
        }))
    }
}

/// What the host keeps for an instance.
pub(super) struct HostState {
    wasi: WasiCtx,
    table: ResourceTable,
    limiter: Limiter,
    owner: Owner,
    env: Env,
    meter: Arc<StepMeter>,
    stderr: Printed,
    /// The names of the guest's own counters.
    counters: BTreeSet<String>,
    has_refused_counter: bool,
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl host::Host for HostState {
    fn log(&mut self, level: host::Level, message: String) {
        let level = match level {
            host::Level::Trace => tracing::Level::TRACE,
            host::Level::Debug => tracing::Level::DEBUG,
            host::Level::Info => tracing::Level::INFO,
            host::Level::Warn => tracing::Level::WARN,
            host::Level::Error => tracing::Level::ERROR,
        };
        let end = message.floor_char_boundary(wasi::LINE.min(message.len()));
        self.owner.log(level, &message[..end]);
    }

    fn count(&mut self, name: String, by: u64) {
        if !self.counters.contains(&name) {
            // Each lives as long as the run, and a guest could make them of its data.
            if self.counters.len() == COUNTERS || name.len() > COUNTER_NAME {
                if !std::mem::replace(&mut self.has_refused_counter, true) {
                    let line =
                        format!("counters beyond {COUNTERS}, or of names over {COUNTER_NAME} bytes, are not kept");
                    self.owner.log(tracing::Level::WARN, &line);
                }
                return;
            }
            self.counters.insert(name.clone());
        }
        self.meter.count(&name, by);
    }

    fn now(&mut self) -> i64 {
        self.env.clock.now().0
    }
}

/// Counts the linear memory of an instance, over all its modules.
struct Limiter {
    limit: Option<u64>,
    held: u64,
    /// Whether the guest was refused memory since the last call began.
    has_refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let held = self.held + (desired - current) as u64;
        if self.limit.is_some_and(|limit| held > limit) {
            self.has_refused = true;
            return Ok(false);
        }
        // Asked for all the same when the memory's own maximum will refuse it.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.held = held;
        }
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}
