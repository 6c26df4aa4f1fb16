//! DestinationRule.

use super::common::{CONNECTION_POOL, DURATION, MATCH_LABELS};
use crate::crd::rule::Row::{self, In, On};
use crate::crd::rule::Rule::{AtLeast, AtMost, MaxItems, Required};

pub(in crate::crd) const DESTINATION_RULE: &[Row] = &[
    On("", &[Required(&["host"])]),
    In("workloadSelector", MATCH_LABELS),
    In("trafficPolicy", TRAFFIC_POLICY),
    On("subsets[]", &[Required(&["name"])]),
    In("subsets[].trafficPolicy", TRAFFIC_POLICY),
];

const TRAFFIC_POLICY: &[Row] = &[
    In("", PORT_POLICY),
    On("portLevelSettings", &[MaxItems(4096)]),
    In("portLevelSettings[]", PORT_POLICY),
    On("tunnel", &[Required(&["targetHost", "targetPort"])]),
    On("retryBudget.percent", &[AtLeast(0), AtMost(100)]),
];

const PORT_POLICY: &[Row] = &[
    In("connectionPool", CONNECTION_POOL),
    In("loadBalancer", LOAD_BALANCER),
    On("outlierDetection.interval", &[DURATION]),
    On("outlierDetection.baseEjectionTime", &[DURATION]),
    On(
        "outlierDetection.outlierDetectionHttpErrorCodes[]",
        &[AtLeast(100), AtMost(599)],
    ),
];

const LOAD_BALANCER: &[Row] = &[
    On("consistentHash.httpCookie", &[Required(&["name"])]),
    On(
        "consistentHash.httpCookie.attributes[]",
        &[Required(&["name"])],
    ),
    On("zoneAwareLbSetting.minClusterSize", &[AtLeast(1)]),
    On("warmup", &[Required(&["duration"])]),
    On("warmup.duration", &[DURATION]),
    On("warmup.minimumPercent", &[AtLeast(0), AtMost(100)]),
    On("warmup.aggression", &[AtLeast(1)]),
    On("warmupDurationSecs", &[DURATION]),
];
