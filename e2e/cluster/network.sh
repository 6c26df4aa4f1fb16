# The network of clusters made of parts. Sourced, not run.
# shellcheck shell=bash
#
# A cluster NAME has the namespace NAME0, the outside, where clients start: a bridge with 192.168.77.1. NAME1 is the
# control plane and node 1. A cluster that joins another has no outside of its own: its namespaces hang on the other's
# bridge. Each cluster on a bridge has a slot S, from which its addresses follow:
#
#   node N           192.168.77.(10 S + N + 1)      pods of node N    10.244.(16 S + N - 1).0/24
#   Services         10.(96 + S).0.0/16
#
# Nothing leads to the machine's own network.

SLOTS=16

# What follows from the slot.
plan_addresses() {
    PODS=10.244.$((16 * SLOT)).0/20
    SERVICES=10.$((96 + SLOT)).0.0/16
    API_SERVICE=10.$((96 + SLOT)).0.1
    API=$(node_address 1)
}
node_address() { printf '192.168.77.%d\n' $((10 * SLOT + $1 + 1)); }

# The lowest slot that no other cluster on the same outside has.
free_slot() {
    local outside=$1 slot other taken=' '
    for other in $(clusters); do
        [[ $(noted "$other" outside) != "$outside" ]] || taken+="$(noted "$other" slot) "
    done
    for ((slot = 0; slot < SLOTS; slot++)); do
        [[ $taken == *" $slot "* ]] || {
            echo "$slot"
            return
        }
    done
    fail "$SLOTS clusters share the network of $outside already: take one down"
}

# A namespace that is not noted as ours is left alone, whatever its name.
add_namespace() {
    [[ ! -e /run/netns/$1 ]] ||
        fail "a network namespace $1 exists and belongs to no known cluster" \
            "choose another NAME, or remove it: ip netns delete $1"
    echo "$1" >>"$STATE/namespaces"
    ip netns add "$1"
    ip -n "$1" link set lo up
}

lay_outside() {
    local outside=${NAME}0
    add_namespace "$outside"
    ip -n "$outside" link add br0 type bridge
    ip -n "$outside" addr add 192.168.77.1/24 dev br0
    ip -n "$outside" link set br0 up
}

lay_node() {
    local node=$NAME$1 outside=${OUTSIDE}0 mac
    # Follows from the address, so that nobody remembers the one of a cluster that had the address before.
    printf -v mac '02:00:c0:a8:4d:%02x' $((10 * SLOT + $1 + 1))
    add_namespace "$node"
    ip -n "$outside" link add "$node" type veth peer name eth0 address "$mac" netns "$node"
    ip -n "$outside" link set "$node" master br0
    ip -n "$outside" link set "$node" up
    ip -n "$node" addr add "$(node_address "$1")/24" dev eth0
    ip -n "$node" link set eth0 up
    # The outside does not forward, but without a route the kernel never asks whether an address is a Service's.
    ip -n "$node" route add default via 192.168.77.1
}

remove_network() {
    local namespace
    for namespace in $(noted "$NAME" namespaces); do
        # The kernel takes its time to end a namespace; the other end of its link goes at once.
        ip -n "$(noted "$NAME" outside)0" link delete "$namespace" 2>/dev/null || true
        [[ ! -e /run/netns/$namespace ]] || ip netns delete "$namespace"
    done
}
