# A cluster of kind instead of parts, for machines with Docker. Sourced, not run.
# shellcheck shell=bash

# Which of the two makes this machine's clusters; LATEEN_CLUSTER=parts or kind decides it by hand.
choose_engine() {
    case ${LATEEN_CLUSTER:-} in
    parts | kind) echo "$LATEEN_CLUSTER" ;;
    '') if kind version >/dev/null 2>&1 && timeout 20 docker info >/dev/null 2>&1; then echo kind; else echo parts; fi ;;
    *) fail "LATEEN_CLUSTER=$LATEEN_CLUSTER: parts and kind exist" ;;
    esac
}

# The context is named as one of parts would be.
start_kind() {
    command -v kubectl >/dev/null || fail "kind without kubectl: install kubectl"
    kind create cluster --name "lateen-$NAME" --kubeconfig "$STATE/kubeconfig" --wait "${DEADLINE}s" >&2
    kubectl --kubeconfig "$STATE/kubeconfig" config rename-context "kind-lateen-$NAME" "$NAME" >/dev/null
}
