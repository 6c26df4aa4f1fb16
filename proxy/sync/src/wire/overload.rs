//! The overload manager of a bootstrap.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::overload::v3 as wire;
use envoy_types::pb::envoy::config::overload::v3::ScaleTimersOverloadActionConfig;
use envoy_types::pb::envoy::config::overload::v3::resource_monitor::ConfigType;
use envoy_types::pb::envoy::config::overload::v3::scale_timers_overload_action_config::TimerType;
use envoy_types::pb::envoy::config::overload::v3::scale_timers_overload_action_config::scale_timer::OverloadAdjust;
use envoy_types::pb::envoy::config::overload::v3::trigger::TriggerOneof;
use envoy_types::pb::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
use envoy_types::pb::envoy::extensions::resource_monitors::fixed_heap::v3::FixedHeapConfig;
use envoy_types::pb::envoy::extensions::resource_monitors::injected_resource::v3::InjectedResourceConfig;
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_model::{
    LeastTime, OverloadAction, OverloadPlan, Resource, ScaledTime, ShedPoint, Trigger, TriggerRule,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, unpack};

/// Envoy's time between looks.
const REFRESH: Duration = Duration::from_secs(1);

/// Reads an overload manager.
pub(crate) fn read(
    at: &At<'_>,
    mut message: wire::OverloadManager,
) -> Result<OverloadPlan, Refused> {
    let place = at.field("refresh_interval");
    let refresh = duration(&place, message.refresh_interval.take())?;
    let mut plan = OverloadPlan {
        refresh: refresh.filter(|time| !time.is_zero()).unwrap_or(REFRESH),
        monitors: Vec::new(),
        actions: Vec::new(),
        points: Vec::new(),
        timers: Vec::new(),
        max_connections: None,
    };
    let list = at.field("resource_monitors");
    for (index, one) in take(&mut message.resource_monitors).into_iter().enumerate() {
        monitor(&list.item(index), one, &mut plan)?;
    }
    let list = at.field("actions");
    for (index, one) in take(&mut message.actions).into_iter().enumerate() {
        action(&list.item(index), one, &mut plan)?;
    }
    let list = at.field("loadshed_points");
    for (index, one) in take(&mut message.loadshed_points).into_iter().enumerate() {
        let at = list.item(index);
        let known = ShedPoint::ALL.into_iter().find(|it| it.name() == one.name);
        let point = known.ok_or_else(|| unknown(&at.field("name"), &one.name))?;
        let triggers = triggers(&at.field("triggers"), one.triggers, &plan)?;
        plan.points.push((point, triggers));
    }
    nothing_left(at, &message)?;
    Ok(plan)
}

/// The limit of connections that a runtime key sets, where no resource monitor does.
pub(crate) fn with_runtime(
    plan: Option<OverloadPlan>,
    max_connections: Option<u64>,
) -> Option<OverloadPlan> {
    if plan.is_none() && max_connections.is_none() {
        return None;
    }
    let mut plan = plan.unwrap_or_else(|| OverloadPlan {
        refresh: REFRESH,
        monitors: Vec::new(),
        actions: Vec::new(),
        points: Vec::new(),
        timers: Vec::new(),
        max_connections: None,
    });
    plan.max_connections = plan.max_connections.or(max_connections);
    Some(plan)
}

fn unknown(at: &At<'_>, name: &str) -> Refused {
    at.refuse(format!("{name:?} is not supported"))
}

fn monitor(
    at: &At<'_>,
    message: wire::ResourceMonitor,
    plan: &mut OverloadPlan,
) -> Result<(), Refused> {
    if plan
        .monitors
        .iter()
        .any(|(name, _)| **name == *message.name)
    {
        let text = format!("{:?} stands twice", message.name);
        return Err(at.field("name").refuse(text));
    }
    let at = at.field("typed_config");
    let Some(ConfigType::TypedConfig(packed)) = message.config_type else {
        return Err(at.refuse("missing"));
    };
    if any::holds::<DownstreamConnectionsConfig>(&packed) {
        let config: DownstreamConnectionsConfig = unpack(&at, &packed)?;
        let most = u64::try_from(config.max_active_downstream_connections);
        let place = at.field("max_active_downstream_connections");
        let most = most.ok().filter(|most| *most > 0);
        plan.max_connections = Some(most.ok_or_else(|| place.refuse("must be above 0"))?);
        return Ok(());
    }
    let resource = resource(&at, &message.name, &packed)?;
    plan.monitors.push((message.name.into(), resource));
    Ok(())
}

fn resource(at: &At<'_>, name: &str, packed: &Any) -> Result<Resource, Refused> {
    if any::holds::<FixedHeapConfig>(packed) {
        let mut config: FixedHeapConfig = unpack(at, packed)?;
        let most = take(&mut config.max_heap_size_bytes);
        nothing_left(at, &config)?;
        return match most {
            0 => Err(at.field("max_heap_size_bytes").refuse("must be above 0")),
            most => Ok(Resource::Heap(most)),
        };
    }
    if any::holds::<InjectedResourceConfig>(packed) {
        let config: InjectedResourceConfig = unpack(at, packed)?;
        if config.filename.is_empty() {
            return Err(at.field("filename").refuse("missing"));
        }
        return Ok(Resource::Injected(config.filename.into()));
    }
    let kind = any::full_name(&packed.type_url);
    Err(at.refuse(format!(
        "resource monitor {name:?} ({kind}) is not supported"
    )))
}

fn action(
    at: &At<'_>,
    message: wire::OverloadAction,
    plan: &mut OverloadPlan,
) -> Result<(), Refused> {
    let known = OverloadAction::ALL
        .into_iter()
        .find(|it| it.name() == message.name);
    let action = known.ok_or_else(|| unknown(&at.field("name"), &message.name))?;
    if plan.actions.iter().any(|(own, _)| *own == action) {
        let text = format!("{:?} stands twice", message.name);
        return Err(at.field("name").refuse(text));
    }
    let place = at.field("typed_config");
    match (action, message.typed_config) {
        (OverloadAction::ReduceTimeouts, Some(packed)) => {
            plan.timers = timers(&place, unpack(&place, &packed)?)?;
        }
        (OverloadAction::ReduceTimeouts, None) => return Err(place.refuse("missing")),
        // When and how often memory is given back: the allocator does it by itself.
        (OverloadAction::ShrinkHeap, _) | (_, None) => {}
        (_, Some(_)) => return Err(place.unsupported()),
    }
    let triggers = triggers(&at.field("triggers"), message.triggers, plan)?;
    plan.actions.push((action, triggers));
    Ok(())
}

fn triggers(
    at: &At<'_>,
    messages: Vec<wire::Trigger>,
    plan: &OverloadPlan,
) -> Result<Vec<Trigger>, Refused> {
    if messages.is_empty() {
        return Err(at.refuse("missing"));
    }
    let read = |(index, message): (usize, wire::Trigger)| {
        let at = at.item(index);
        let monitor = plan
            .monitors
            .iter()
            .position(|(name, _)| **name == *message.name)
            .ok_or_else(|| {
                let text = format!("there is no resource monitor {:?}", message.name);
                at.field("name").refuse(text)
            })?;
        let share = |at: &At<'_>, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(value),
            false => Err(at.refuse("not between 0 and 1")),
        };
        let rule = match message.trigger_oneof {
            Some(TriggerOneof::Threshold(it)) => {
                TriggerRule::Threshold(share(&at.field("threshold"), it.value)?)
            }
            Some(TriggerOneof::Scaled(it)) => {
                let at = at.field("scaled");
                let from = share(&at, it.scaling_threshold)?;
                let full = share(&at, it.saturation_threshold)?;
                if full <= from {
                    let text = "must be above the scaling threshold";
                    return Err(at.field("saturation_threshold").refuse(text));
                }
                TriggerRule::Scaled(from, full)
            }
            None => return Err(at.refuse("neither threshold nor scaled")),
        };
        Ok(Trigger { monitor, rule })
    };
    messages.into_iter().enumerate().map(read).collect()
}

fn timers(
    at: &At<'_>,
    message: ScaleTimersOverloadActionConfig,
) -> Result<Vec<(ScaledTime, LeastTime)>, Refused> {
    let list = at.field("timer_scale_factors");
    let mut timers: Vec<(ScaledTime, LeastTime)> = Vec::new();
    for (index, one) in message.timer_scale_factors.into_iter().enumerate() {
        let at = list.item(index);
        let which = match one.timer() {
            TimerType::HttpDownstreamConnectionIdle => ScaledTime::ConnectionIdle,
            TimerType::HttpDownstreamStreamIdle => ScaledTime::StreamIdle,
            TimerType::TransportSocketConnect => ScaledTime::Handshake,
            TimerType::HttpDownstreamConnectionMax => ScaledTime::ConnectionLife,
            TimerType::HttpDownstreamStreamFlush | TimerType::Unspecified => {
                return Err(at.field("timer").unsupported());
            }
        };
        if timers.iter().any(|(own, _)| *own == which) {
            return Err(at.field("timer").refuse("stands twice"));
        }
        let least = match one.overload_adjust {
            Some(OverloadAdjust::MinTimeout(time)) => {
                let time = duration(&at.field("min_timeout"), Some(time))?;
                LeastTime::Time(time.unwrap_or_default())
            }
            Some(OverloadAdjust::MinScale(share)) if (0.0..=100.0).contains(&share.value) => {
                LeastTime::Share(share.value / 100.0)
            }
            Some(OverloadAdjust::MinScale(_)) => {
                return Err(at.field("min_scale").refuse("not between 0 and 100"));
            }
            None => return Err(at.refuse("neither min_timeout nor min_scale")),
        };
        timers.push((which, least));
    }
    Ok(timers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager() -> wire::OverloadManager {
        wire::OverloadManager {
            resource_monitors: vec![wire::ResourceMonitor {
                name: "heap".into(),
                config_type: Some(ConfigType::TypedConfig(any::pack(&FixedHeapConfig {
                    max_heap_size_bytes: 100,
                    ..FixedHeapConfig::default()
                }))),
            }],
            actions: vec![wire::OverloadAction {
                name: OverloadAction::StopRequests.name().into(),
                triggers: vec![wire::Trigger {
                    name: "heap".into(),
                    trigger_oneof: Some(TriggerOneof::Threshold(wire::ThresholdTrigger {
                        value: 0.9,
                    })),
                }],
                typed_config: None,
            }],
            ..wire::OverloadManager::default()
        }
    }

    #[test]
    fn triggers_are_joined_to_their_resource() {
        let plan = read(&At::ROOT, manager()).unwrap();
        let trigger = Trigger {
            monitor: 0,
            rule: TriggerRule::Threshold(0.9),
        };
        assert_eq!(
            plan.actions,
            [(OverloadAction::StopRequests, vec![trigger])]
        );
        assert_eq!(plan.monitors[0].1, Resource::Heap(100));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |change: fn(&mut wire::OverloadManager)| {
            let mut message = manager();
            change(&mut message);
            read(&At::ROOT, message).unwrap_err().to_string()
        };
        let trigger = wrong(|it| it.actions[0].triggers[0].name = "cpu".into());
        assert!(
            trigger.starts_with("actions[0].triggers[0].name"),
            "{trigger}"
        );
        let action = wrong(|it| it.actions[0].name = "x".into());
        assert!(action.starts_with("actions[0].name: \"x\""), "{action}");
        let none = wrong(|it| it.actions[0].triggers.clear());
        assert!(none.starts_with("actions[0].triggers: missing"), "{none}");
    }
}
