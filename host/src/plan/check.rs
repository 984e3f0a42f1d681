//! From a spec to a plan: everything that can be refused is refused here, all of it at once.

use super::resolve::{Named, resolve};
use super::{Plan, PlannedPort, PlannedStep, PlannedUp, kept};
use crate::catalog::cx::{CheckCx, FlowCx, Up};
use crate::catalog::operator::{Inputs, Operator, StreamType};
use crate::dataflow::dead_letter;
use crate::dataflow::emit::OnError;
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{self, Spec, StepSpec};

/// Checks a flow. `text` is the flow file, for line numbers.
///
/// # Errors
/// Everything that is wrong. A step whose upstream is wrong is not checked, since its types are not known.
pub fn check(spec: &Spec, text: &str, flow: FlowCx<'_>) -> Result<Plan, Diagnostics> {
    let mut problems = Diagnostics::new();
    let operators: Vec<Option<&dyn Operator>> =
        spec.steps.iter().map(|step| find_operator(step, &flow, &mut problems)).collect();
    // An operator that there is none of may have been meant to begin the flow.
    let begins = |(operator, step): (&Option<&dyn Operator>, &StepSpec)| match operator {
        Some(found) => found.inputs() == Inputs::None,
        None => step.from == spec::From::Above,
    };
    let begins: Vec<bool> = operators.iter().zip(&spec.steps).map(begins).collect();
    let resolved = resolve(spec, &begins, &mut problems);
    let mut steps: Vec<PlannedStep> = Vec::new();
    // For each step of the spec its place in the plan, once it is there.
    let mut planned: Vec<Option<usize>> = vec![None; spec.steps.len()];
    for index in resolved.order {
        let (Some(operator), Some(named)) = (operators[index], &resolved.ups[index]) else { continue };
        let step = &spec.steps[index];
        let Some(ups) = find_ports(step, named, &planned, &steps, &mut problems) else { continue };
        let checked = check_step(operator, step, ups, &steps, flow, text);
        if let Some(step) = problems.take(checked) {
            planned[index] = Some(steps.len());
            steps.push(step);
        }
    }
    if problems.is_empty() {
        check_ends(spec, &operators, &planned, &steps, &mut problems);
    }
    problems.into_result(Plan { flow: spec.flow.value.as_str().into(), steps })
}

fn find_operator(step: &StepSpec, flow: &FlowCx<'_>, problems: &mut Diagnostics) -> Option<&'static dyn Operator> {
    match flow.catalog.operator(&step.op.value) {
        Ok(operator) => Some(operator),
        Err(suggestion) => {
            let help = suggestion.unwrap_or_else(|| "\"wxhost operators\" lists them".to_owned());
            let message = format!("no operator \"{}\"", step.op.value);
            problems.push(Diagnostic::new("unknown-operator", message).at(step.op.span.clone()).help(help));
            None
        }
    }
}

/// Finds the ports that a step takes from; none if an upstream has problems of its own, or has no such port.
fn find_ports(
    step: &StepSpec,
    named: &[Named],
    planned: &[Option<usize>],
    steps: &[PlannedStep],
    problems: &mut Diagnostics,
) -> Option<Vec<(PlannedUp, std::ops::Range<usize>)>> {
    let mut ups = Vec::new();
    for named in named {
        let up = planned[named.step]?;
        let ports = &steps[up].ports;
        let wanted = named.port.as_deref().unwrap_or("down");
        let Some(port) = ports.iter().position(|port| port.name == wanted) else {
            problems.push(no_port(step, named, wanted, &steps[up]));
            return None;
        };
        ups.push((PlannedUp { name: named.name.clone(), step: up, port }, named.span.clone()));
    }
    Some(ups)
}

fn no_port(step: &StepSpec, named: &Named, wanted: &str, up: &PlannedStep) -> Diagnostic {
    let names: Vec<&str> = up.ports.iter().map(|port| port.name).collect();
    let what = format!("step \"{}\" takes from \"{}\"", step.name.value, up.id);
    let diagnostic = match named.port {
        _ if names.is_empty() => Diagnostic::new("no-port", format!("{what}, which gives nothing")),
        Some(_) => Diagnostic::new("no-port", format!("{what}, which has no port \"{wanted}\"")),
        None => Diagnostic::new("no-port", format!("{what} without saying from which port")),
    };
    let help = match names.as_slice() {
        [] => format!("\"{}\" is an {} step; take from the step before it", up.id, up.op),
        _ if wanted == "errors" => {
            format!("give step \"{}\" on_error = \"dead_letter\"; its ports are: {}", up.id, names.join(", "))
        }
        _ => suggest(wanted, names.iter().copied())
            .unwrap_or_else(|| format!("write from = \"{}.{}\"; its ports are: {}", up.id, names[0], names.join(", "))),
    };
    diagnostic.at(named.span.clone()).help(help)
}

fn check_step(
    operator: &'static dyn Operator,
    step: &StepSpec,
    ups: Vec<(PlannedUp, std::ops::Range<usize>)>,
    steps: &[PlannedStep],
    flow: FlowCx<'_>,
    text: &str,
) -> Result<PlannedStep, Diagnostics> {
    if operator.inputs() == Inputs::None && step.from != spec::From::Above {
        let message =
            format!("step \"{}\": \"{}\" begins a flow and takes from no step", step.name.value, operator.name());
        return Err(Diagnostic::new("unexpected-from", message)
            .at(step.span.clone())
            .help("leave \"from\" out")
            .into());
    }
    if operator.inputs() == Inputs::One && ups.len() != 1 {
        let message =
            format!("step \"{}\": \"{}\" takes from one step, not {}", step.name.value, operator.name(), ups.len());
        let help = "put a step with op = \"merge\" between";
        return Err(Diagnostic::new("too-many-upstreams", message).at(step.span.clone()).help(help).into());
    }
    let types = ups.iter().map(|(up, span)| Up {
        name: up.name.clone(),
        ty: steps[up.step].ports[up.port].ty.clone(),
        span: span.clone(),
    });
    let types: Vec<Up> = types.collect();
    let checked = operator.check(&CheckCx { flow, step, ups: types.clone() })?;
    let kept = checked.keeps.map(|keeps| kept::Kept::of(step, text, &types, keeps));
    let mut ports: Vec<PlannedPort> = checked.ports.into_iter().map(|(name, ty)| PlannedPort { name, ty }).collect();
    let on_error = match step.on_error.as_ref().map(|on_error| on_error.value) {
        None | Some(spec::OnError::Fail) => OnError::Fail,
        Some(spec::OnError::Skip) => OnError::Skip,
        Some(spec::OnError::DeadLetter) => OnError::DeadLetter,
    };
    // A sink's only stream is that of its progress, which stands before its port "errors".
    let error_port = (on_error == OnError::DeadLetter).then_some(ports.len().max(1));
    if error_port.is_some() {
        let ty = StreamType::unkeyed(dead_letter::schema());
        if ports.is_empty() {
            ports.push(PlannedPort { name: "", ty: ty.clone() });
        }
        ports.push(PlannedPort { name: "errors", ty });
    }
    Ok(PlannedStep {
        id: step.name.value.as_str().into(),
        op: operator.name(),
        line: text[..step.span.start.min(text.len())].matches('\n').count() + 1,
        ups: ups.into_iter().map(|(up, _)| up).collect(),
        ports,
        build: checked.build.into(),
        on_error,
        max_errors: step.max_errors,
        error_port,
        notes: checked.notes,
        kept,
        meter: Default::default(),
    })
}

/// Every row goes somewhere: a flow has an end, and no step gives for nothing.
fn check_ends(
    spec: &Spec,
    operators: &[Option<&dyn Operator>],
    planned: &[Option<usize>],
    steps: &[PlannedStep],
    problems: &mut Diagnostics,
) {
    let is_end = |index: usize| operators[index].is_some_and(|operator| operator.is_end());
    if !(0..spec.steps.len()).any(is_end) {
        let message = format!("flow \"{}\" has no step with which rows leave it", spec.flow.value);
        let help = "end it with op = \"output\" and a sink, or with op = \"inspect\"";
        problems.push(Diagnostic::new("no-output", message).at(spec.flow.span.clone()).help(help));
        return;
    }
    for (index, step) in spec.steps.iter().enumerate() {
        let Some(planned) = planned[index].map(|at| (at, &steps[at])) else { continue };
        let taken =
            |port: usize| steps.iter().flat_map(|step| &step.ups).any(|up| up.step == planned.0 && up.port == port);
        let errors = planned.1.error_port;
        if errors.is_some_and(|port| !taken(port)) {
            let message = format!("the dead letters of step \"{}\" go nowhere", step.name.value);
            let help = format!(
                "take them in another step: from = \"{}.errors\"; or write on_error = \"skip\"",
                step.name.value
            );
            let span = step.on_error.as_ref().map_or(step.span.clone(), |on_error| on_error.span.clone());
            problems.push(Diagnostic::new("errors-unused", message).at(span).help(help));
        }
        let own = (0..planned.1.ports.len()).filter(|&port| Some(port) != errors);
        if !is_end(index) && !own.clone().any(taken) {
            let message = format!("no step takes from step \"{}\"", step.name.value);
            let help = "take from it in an output step, or leave it out";
            problems.push(Diagnostic::new("unused-step", message).at(step.name.span.clone()).help(help));
        }
    }
}
