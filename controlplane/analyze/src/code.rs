//! The codes of messages, which never change their meaning.

use std::fmt;

/// How bad a message is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something may not work as meant.
    Warning,
    /// Something worth knowing.
    Info,
}

/// The code of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    /// `IST` or `LAT` and four digits.
    pub id: &'static str,
    /// What it is about, as one word.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
}

impl Level {
    /// All levels, the worst first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Info];

    /// The level's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Info => "Info",
        }
    }

    /// The level of a name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Code {
    /// The code of an id such as `IST0101`; `None` if there is none.
    #[must_use]
    pub fn find(id: &str) -> Option<Self> {
        CODES.iter().copied().find(|code| code.id == id)
    }

    /// Whether the code is one that Istio has.
    #[must_use]
    pub fn is_istio(self) -> bool {
        self.id.starts_with("IST")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.id)
    }
}

const fn code(id: &'static str, name: &'static str, level: Level) -> Code {
    Code { id, name, level }
}

/// IST0001.
pub const INTERNAL_ERROR: Code = code("IST0001", "InternalError", Level::Error);
/// IST0002.
pub const DEPRECATED: Code = code("IST0002", "Deprecated", Level::Warning);
/// IST0101.
pub const REFERENCED_RESOURCE_NOT_FOUND: Code =
    code("IST0101", "ReferencedResourceNotFound", Level::Error);
/// IST0102.
pub const NAMESPACE_NOT_INJECTED: Code = code("IST0102", "NamespaceNotInjected", Level::Info);
/// IST0103.
pub const POD_MISSING_PROXY: Code = code("IST0103", "PodMissingProxy", Level::Warning);
/// IST0106.
pub const SCHEMA_VALIDATION_ERROR: Code = code("IST0106", "SchemaValidationError", Level::Error);
/// IST0107.
pub const MISPLACED_ANNOTATION: Code = code("IST0107", "MisplacedAnnotation", Level::Warning);
/// IST0108.
pub const UNKNOWN_ANNOTATION: Code = code("IST0108", "UnknownAnnotation", Level::Warning);
/// IST0109.
pub const CONFLICTING_MESH_GATEWAY_VIRTUAL_SERVICE_HOSTS: Code = code(
    "IST0109",
    "ConflictingMeshGatewayVirtualServiceHosts",
    Level::Error,
);
/// IST0110.
pub const CONFLICTING_SIDECAR_WORKLOAD_SELECTORS: Code = code(
    "IST0110",
    "ConflictingSidecarWorkloadSelectors",
    Level::Error,
);
/// IST0111.
pub const MULTIPLE_SIDECARS_WITHOUT_WORKLOAD_SELECTORS: Code = code(
    "IST0111",
    "MultipleSidecarsWithoutWorkloadSelectors",
    Level::Error,
);
/// IST0112.
pub const VIRTUAL_SERVICE_DESTINATION_PORT_SELECTOR_REQUIRED: Code = code(
    "IST0112",
    "VirtualServiceDestinationPortSelectorRequired",
    Level::Error,
);
/// IST0116.
pub const DEPLOYMENT_ASSOCIATED_TO_MULTIPLE_SERVICES: Code = code(
    "IST0116",
    "DeploymentAssociatedToMultipleServices",
    Level::Warning,
);
/// IST0118.
pub const PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION: Code =
    code("IST0118", "PortNameIsNotUnderNamingConvention", Level::Info);
/// IST0123.
pub const NAMESPACE_MULTIPLE_INJECTION_LABELS: Code = code(
    "IST0123",
    "NamespaceMultipleInjectionLabels",
    Level::Warning,
);
/// IST0125.
pub const INVALID_ANNOTATION: Code = code("IST0125", "InvalidAnnotation", Level::Warning);
/// IST0126.
pub const UNKNOWN_MESH_NETWORKS_SERVICE_REGISTRY: Code = code(
    "IST0126",
    "UnknownMeshNetworksServiceRegistry",
    Level::Error,
);
/// IST0127.
pub const NO_MATCHING_WORKLOADS_FOUND: Code =
    code("IST0127", "NoMatchingWorkloadsFound", Level::Warning);
/// IST0128.
pub const NO_SERVER_CERTIFICATE_VERIFICATION_DESTINATION_LEVEL: Code = code(
    "IST0128",
    "NoServerCertificateVerificationDestinationLevel",
    Level::Warning,
);
/// IST0129.
pub const NO_SERVER_CERTIFICATE_VERIFICATION_PORT_LEVEL: Code = code(
    "IST0129",
    "NoServerCertificateVerificationPortLevel",
    Level::Warning,
);
/// IST0130.
pub const VIRTUAL_SERVICE_UNREACHABLE_RULE: Code =
    code("IST0130", "VirtualServiceUnreachableRule", Level::Warning);
/// IST0131.
pub const VIRTUAL_SERVICE_INEFFECTIVE_MATCH: Code =
    code("IST0131", "VirtualServiceIneffectiveMatch", Level::Info);
/// IST0132.
pub const VIRTUAL_SERVICE_HOST_NOT_FOUND_IN_GATEWAY: Code = code(
    "IST0132",
    "VirtualServiceHostNotFoundInGateway",
    Level::Warning,
);
/// IST0133.
pub const SCHEMA_WARNING: Code = code("IST0133", "SchemaWarning", Level::Warning);
/// IST0134.
pub const SERVICE_ENTRY_ADDRESSES_REQUIRED: Code =
    code("IST0134", "ServiceEntryAddressesRequired", Level::Warning);
/// IST0135.
pub const DEPRECATED_ANNOTATION: Code = code("IST0135", "DeprecatedAnnotation", Level::Info);
/// IST0136.
pub const ALPHA_ANNOTATION: Code = code("IST0136", "AlphaAnnotation", Level::Info);
/// IST0137.
pub const DEPLOYMENT_CONFLICTING_PORTS: Code =
    code("IST0137", "DeploymentConflictingPorts", Level::Warning);
/// IST0138.
pub const GATEWAY_DUPLICATE_CERTIFICATE: Code =
    code("IST0138", "GatewayDuplicateCertificate", Level::Warning);
/// IST0139.
pub const INVALID_WEBHOOK: Code = code("IST0139", "InvalidWebhook", Level::Error);
/// IST0140.
pub const INGRESS_ROUTE_RULES_NOT_AFFECTED: Code =
    code("IST0140", "IngressRouteRulesNotAffected", Level::Warning);
/// IST0141.
pub const INSUFFICIENT_PERMISSIONS: Code = code("IST0141", "InsufficientPermissions", Level::Error);
/// IST0142.
pub const UNSUPPORTED_KUBERNETES_VERSION: Code =
    code("IST0142", "UnsupportedKubernetesVersion", Level::Error);
/// IST0143.
pub const LOCALHOST_LISTENER: Code = code("IST0143", "LocalhostListener", Level::Error);
/// IST0144.
pub const INVALID_APPLICATION_UID: Code = code("IST0144", "InvalidApplicationUID", Level::Warning);
/// IST0145.
pub const CONFLICTING_GATEWAYS: Code = code("IST0145", "ConflictingGateways", Level::Error);
/// IST0146.
pub const IMAGE_AUTO_WITHOUT_INJECTION_WARNING: Code = code(
    "IST0146",
    "ImageAutoWithoutInjectionWarning",
    Level::Warning,
);
/// IST0147.
pub const IMAGE_AUTO_WITHOUT_INJECTION_ERROR: Code =
    code("IST0147", "ImageAutoWithoutInjectionError", Level::Error);
/// IST0148.
pub const NAMESPACE_INJECTION_ENABLED_BY_DEFAULT: Code =
    code("IST0148", "NamespaceInjectionEnabledByDefault", Level::Info);
/// IST0149.
pub const JWT_CLAIM_BASED_ROUTING_WITHOUT_REQUEST_AUTH_N: Code = code(
    "IST0149",
    "JwtClaimBasedRoutingWithoutRequestAuthN",
    Level::Error,
);
/// IST0150.
pub const EXTERNAL_NAME_SERVICE_TYPE_INVALID_PORT_NAME: Code = code(
    "IST0150",
    "ExternalNameServiceTypeInvalidPortName",
    Level::Warning,
);
/// IST0151.
pub const ENVOY_FILTER_USES_RELATIVE_OPERATION: Code = code(
    "IST0151",
    "EnvoyFilterUsesRelativeOperation",
    Level::Warning,
);
/// IST0152.
pub const ENVOY_FILTER_USES_REPLACE_OPERATION_INCORRECTLY: Code = code(
    "IST0152",
    "EnvoyFilterUsesReplaceOperationIncorrectly",
    Level::Error,
);
/// IST0153.
pub const ENVOY_FILTER_USES_ADD_OPERATION_INCORRECTLY: Code = code(
    "IST0153",
    "EnvoyFilterUsesAddOperationIncorrectly",
    Level::Error,
);
/// IST0154.
pub const ENVOY_FILTER_USES_REMOVE_OPERATION_INCORRECTLY: Code = code(
    "IST0154",
    "EnvoyFilterUsesRemoveOperationIncorrectly",
    Level::Error,
);
/// IST0155.
pub const ENVOY_FILTER_USES_RELATIVE_OPERATION_WITH_PROXY_VERSION: Code = code(
    "IST0155",
    "EnvoyFilterUsesRelativeOperationWithProxyVersion",
    Level::Warning,
);
/// IST0156.
pub const UNSUPPORTED_GATEWAY_API_VERSION: Code =
    code("IST0156", "UnsupportedGatewayAPIVersion", Level::Error);
/// IST0157.
pub const INVALID_TELEMETRY_PROVIDER: Code =
    code("IST0157", "InvalidTelemetryProvider", Level::Warning);
/// IST0158.
pub const PODS_ISTIO_PROXY_IMAGE_MISMATCH_IN_NAMESPACE: Code = code(
    "IST0158",
    "PodsIstioProxyImageMismatchInNamespace",
    Level::Warning,
);
/// IST0159.
pub const CONFLICTING_TELEMETRY_WORKLOAD_SELECTORS: Code = code(
    "IST0159",
    "ConflictingTelemetryWorkloadSelectors",
    Level::Error,
);
/// IST0160.
pub const MULTIPLE_TELEMETRIES_WITHOUT_WORKLOAD_SELECTORS: Code = code(
    "IST0160",
    "MultipleTelemetriesWithoutWorkloadSelectors",
    Level::Error,
);
/// IST0161.
pub const INVALID_GATEWAY_CREDENTIAL: Code =
    code("IST0161", "InvalidGatewayCredential", Level::Error);
/// IST0162.
pub const GATEWAY_PORT_NOT_DEFINED_ON_SERVICE: Code =
    code("IST0162", "GatewayPortNotDefinedOnService", Level::Warning);
/// IST0163.
pub const INVALID_EXTERNAL_CONTROL_PLANE_CONFIG: Code = code(
    "IST0163",
    "InvalidExternalControlPlaneConfig",
    Level::Warning,
);
/// IST0164.
pub const EXTERNAL_CONTROL_PLANE_ADDRESS_IS_NOT_AHOSTNAME: Code = code(
    "IST0164",
    "ExternalControlPlaneAddressIsNotAHostname",
    Level::Info,
);
/// IST0165.
pub const REFERENCED_INTERNAL_GATEWAY: Code =
    code("IST0165", "ReferencedInternalGateway", Level::Warning);
/// IST0166.
pub const INEFFECTIVE_SELECTOR: Code = code("IST0166", "IneffectiveSelector", Level::Warning);
/// IST0167.
pub const INEFFECTIVE_POLICY: Code = code("IST0167", "IneffectivePolicy", Level::Warning);
/// IST0168.
pub const UNKNOWN_UPGRADE_COMPATIBILITY: Code =
    code("IST0168", "UnknownUpgradeCompatibility", Level::Warning);
/// IST0169.
pub const UPDATE_INCOMPATIBILITY: Code = code("IST0169", "UpdateIncompatibility", Level::Warning);
/// IST0170.
pub const MULTI_CLUSTER_INCONSISTENT_SERVICE: Code =
    code("IST0170", "MultiClusterInconsistentService", Level::Warning);
/// IST0171.
pub const NEGATIVE_CONDITION_STATUS: Code =
    code("IST0171", "NegativeConditionStatus", Level::Warning);
/// IST0172.
pub const FUTURE_UNSUPPORTED_GATEWAY_API_VERSION: Code = code(
    "IST0172",
    "FutureUnsupportedGatewayAPIVersion",
    Level::Warning,
);
/// IST0173.
pub const DESTINATION_RULE_SUBSET_NOT_SELECT_PODS: Code = code(
    "IST0173",
    "DestinationRuleSubsetNotSelectPods",
    Level::Error,
);
/// IST0174.
pub const UNKNOWN_DESTINATION_RULE_HOST: Code =
    code("IST0174", "UnknownDestinationRuleHost", Level::Warning);
/// IST0175.
pub const JWKS_URI_FETCH_UNRESTRICTED: Code =
    code("IST0175", "JwksUriFetchUnrestricted", Level::Warning);
/// IST0176.
pub const GATEWAY_API_CRD_VERSION_BELOW_MINIMUM: Code = code(
    "IST0176",
    "GatewayAPICRDVersionBelowMinimum",
    Level::Warning,
);
/// IST0177.
pub const CONFLICTING_SERVICE_ENTRY_PROTOCOL: Code =
    code("IST0177", "ConflictingServiceEntryProtocol", Level::Warning);
/// LAT0001.
pub const ROUTE_TO_SUBSET_WITHOUT_READY_PODS: Code =
    code("LAT0001", "RouteToSubsetWithoutReadyPods", Level::Warning);
/// LAT0002.
pub const TIMEOUT_SHORTER_THAN_RETRIES: Code =
    code("LAT0002", "TimeoutShorterThanRetries", Level::Warning);
/// LAT0003.
pub const RETRY_AMPLIFICATION: Code = code("LAT0003", "RetryAmplification", Level::Warning);
/// LAT0004.
pub const AUTHORIZATION_RULE_NEVER_MATCHES: Code =
    code("LAT0004", "AuthorizationRuleNeverMatches", Level::Warning);
/// LAT0005.
pub const AUTHORIZATION_RULE_SHADOWED: Code =
    code("LAT0005", "AuthorizationRuleShadowed", Level::Info);
/// LAT0006.
pub const PATH_NORMALIZATION_BYPASS: Code =
    code("LAT0006", "PathNormalizationBypass", Level::Warning);
/// LAT0007.
pub const GATEWAY_HOST_CLAIMED_TWICE: Code =
    code("LAT0007", "GatewayHostClaimedTwice", Level::Warning);
/// LAT0008.
pub const MUTUAL_TLS_CONTRADICTION: Code = code("LAT0008", "MutualTlsContradiction", Level::Error);

/// All codes, in their order.
pub const CODES: [Code; 76] = [
    INTERNAL_ERROR,
    DEPRECATED,
    REFERENCED_RESOURCE_NOT_FOUND,
    NAMESPACE_NOT_INJECTED,
    POD_MISSING_PROXY,
    SCHEMA_VALIDATION_ERROR,
    MISPLACED_ANNOTATION,
    UNKNOWN_ANNOTATION,
    CONFLICTING_MESH_GATEWAY_VIRTUAL_SERVICE_HOSTS,
    CONFLICTING_SIDECAR_WORKLOAD_SELECTORS,
    MULTIPLE_SIDECARS_WITHOUT_WORKLOAD_SELECTORS,
    VIRTUAL_SERVICE_DESTINATION_PORT_SELECTOR_REQUIRED,
    DEPLOYMENT_ASSOCIATED_TO_MULTIPLE_SERVICES,
    PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION,
    NAMESPACE_MULTIPLE_INJECTION_LABELS,
    INVALID_ANNOTATION,
    UNKNOWN_MESH_NETWORKS_SERVICE_REGISTRY,
    NO_MATCHING_WORKLOADS_FOUND,
    NO_SERVER_CERTIFICATE_VERIFICATION_DESTINATION_LEVEL,
    NO_SERVER_CERTIFICATE_VERIFICATION_PORT_LEVEL,
    VIRTUAL_SERVICE_UNREACHABLE_RULE,
    VIRTUAL_SERVICE_INEFFECTIVE_MATCH,
    VIRTUAL_SERVICE_HOST_NOT_FOUND_IN_GATEWAY,
    SCHEMA_WARNING,
    SERVICE_ENTRY_ADDRESSES_REQUIRED,
    DEPRECATED_ANNOTATION,
    ALPHA_ANNOTATION,
    DEPLOYMENT_CONFLICTING_PORTS,
    GATEWAY_DUPLICATE_CERTIFICATE,
    INVALID_WEBHOOK,
    INGRESS_ROUTE_RULES_NOT_AFFECTED,
    INSUFFICIENT_PERMISSIONS,
    UNSUPPORTED_KUBERNETES_VERSION,
    LOCALHOST_LISTENER,
    INVALID_APPLICATION_UID,
    CONFLICTING_GATEWAYS,
    IMAGE_AUTO_WITHOUT_INJECTION_WARNING,
    IMAGE_AUTO_WITHOUT_INJECTION_ERROR,
    NAMESPACE_INJECTION_ENABLED_BY_DEFAULT,
    JWT_CLAIM_BASED_ROUTING_WITHOUT_REQUEST_AUTH_N,
    EXTERNAL_NAME_SERVICE_TYPE_INVALID_PORT_NAME,
    ENVOY_FILTER_USES_RELATIVE_OPERATION,
    ENVOY_FILTER_USES_REPLACE_OPERATION_INCORRECTLY,
    ENVOY_FILTER_USES_ADD_OPERATION_INCORRECTLY,
    ENVOY_FILTER_USES_REMOVE_OPERATION_INCORRECTLY,
    ENVOY_FILTER_USES_RELATIVE_OPERATION_WITH_PROXY_VERSION,
    UNSUPPORTED_GATEWAY_API_VERSION,
    INVALID_TELEMETRY_PROVIDER,
    PODS_ISTIO_PROXY_IMAGE_MISMATCH_IN_NAMESPACE,
    CONFLICTING_TELEMETRY_WORKLOAD_SELECTORS,
    MULTIPLE_TELEMETRIES_WITHOUT_WORKLOAD_SELECTORS,
    INVALID_GATEWAY_CREDENTIAL,
    GATEWAY_PORT_NOT_DEFINED_ON_SERVICE,
    INVALID_EXTERNAL_CONTROL_PLANE_CONFIG,
    EXTERNAL_CONTROL_PLANE_ADDRESS_IS_NOT_AHOSTNAME,
    REFERENCED_INTERNAL_GATEWAY,
    INEFFECTIVE_SELECTOR,
    INEFFECTIVE_POLICY,
    UNKNOWN_UPGRADE_COMPATIBILITY,
    UPDATE_INCOMPATIBILITY,
    MULTI_CLUSTER_INCONSISTENT_SERVICE,
    NEGATIVE_CONDITION_STATUS,
    FUTURE_UNSUPPORTED_GATEWAY_API_VERSION,
    DESTINATION_RULE_SUBSET_NOT_SELECT_PODS,
    UNKNOWN_DESTINATION_RULE_HOST,
    JWKS_URI_FETCH_UNRESTRICTED,
    GATEWAY_API_CRD_VERSION_BELOW_MINIMUM,
    CONFLICTING_SERVICE_ENTRY_PROTOCOL,
    ROUTE_TO_SUBSET_WITHOUT_READY_PODS,
    TIMEOUT_SHORTER_THAN_RETRIES,
    RETRY_AMPLIFICATION,
    AUTHORIZATION_RULE_NEVER_MATCHES,
    AUTHORIZATION_RULE_SHADOWED,
    PATH_NORMALIZATION_BYPASS,
    GATEWAY_HOST_CLAIMED_TWICE,
    MUTUAL_TLS_CONTRADICTION,
];
