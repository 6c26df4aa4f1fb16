# The control plane of a cluster made of parts: certificates, etcd, API server, controller manager. Sourced, not run.
# shellcheck shell=bash

# certificate FILE SUBJECT USAGE [NAMES]: a P-256 key and its certificate by the cluster's CA.
certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -subj "$2" |
        openssl x509 -req -days 3650 -CA ca.crt -CAkey ca.key -out "$1.crt" -extfile <(
            printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' "extendedKeyUsage=$3"
            [[ -z ${4:-} ]] || printf 'subjectAltName=%s\n' "$4"
        )
}

make_certificates() (
    umask 077
    mkdir -p "$STATE/pki"
    cd "$STATE/pki" || exit
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 3650 \
        -subj "/CN=lateen-$NAME" -addext keyUsage=critical,keyCertSign,cRLSign
    local names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
    names+=,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:$API_SERVICE,IP:127.0.0.1,IP:$API
    certificate apiserver /CN=kube-apiserver serverAuth "$names"
    certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
    certificate admin /O=system:masters/CN=admin clientAuth
    certificate kcm /CN=system:kube-controller-manager clientAuth
    certificate front-proxy-client /CN=front-proxy-client clientAuth
    openssl genrsa -out sa.key 2048
    openssl rsa -in sa.key -pubout -out sa.pub
) >"$STATE/pki.log" 2>&1

# kubeconfig FILE USER: access to this cluster by a certificate; context, cluster and user are named so that
# kubeconfigs of several clusters merge.
kubeconfig() {
    local pki=$STATE/pki
    (
        umask 077
        cat >"$1" <<EOF
apiVersion: v1
kind: Config
current-context: $NAME
contexts: [{name: $NAME, context: {cluster: $NAME, user: $2@$NAME}}]
clusters: [{name: $NAME, cluster: {server: "https://$API:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $2@$NAME, user: {client-certificate-data: $(base64 -w0 "$pki/$2.crt"), client-key-data: $(base64 -w0 "$pki/$2.key")}}]
EOF
    )
}

# etcd's files lie on a tmpfs that only etcd sees: it is gone with etcd, however that ends.
start_etcd() {
    mkdir -p "$STATE/etcd"
    # shellcheck disable=SC2016
    spawn etcd nsenter --net="/run/netns/${NAME}1" unshare --mount bash -c \
        'mount -t tmpfs -o size=4g,mode=700 etcd "$1" && exec "${@:2}"' etcd "$STATE/etcd" \
        "$PACKAGES_DIR/usr/bin/etcd" --data-dir="$STATE/etcd/data" --log-level=warn --unsafe-no-fsync \
        --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
        --listen-peer-urls=http://127.0.0.1:2380
}

start_apiserver() {
    local pki=$STATE/pki
    spawn kube-apiserver nsenter --net="/run/netns/${NAME}1" "$PROGRAMS_DIR/kube-apiserver" \
        --etcd-servers=http://127.0.0.1:2379 --cert-dir="$STATE/apiserver" \
        --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$API" --service-cluster-ip-range="$SERVICES" \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
        --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --kubelet-client-certificate="$pki/apiserver-kubelet.crt" --kubelet-client-key="$pki/apiserver-kubelet.key" \
        --kubelet-preferred-address-types=InternalIP \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
        --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy-client \
        --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
        --requestheader-username-headers=X-Remote-User --proxy-client-cert-file="$pki/front-proxy-client.crt" \
        --proxy-client-key-file="$pki/front-proxy-client.key" --enable-aggregator-routing=true --profiling=false
}

# With the client limits it has by default, the manager starts its controllers for five seconds.
start_controllers() {
    local pki=$STATE/pki
    kubeconfig "$STATE/kcm.conf" kcm
    spawn kube-controller-manager nsenter --net="/run/netns/${NAME}1" "$PROGRAMS_DIR/kube-controller-manager" \
        --kubeconfig="$STATE/kcm.conf" --leader-elect=false --use-service-account-credentials=true \
        --cert-dir="$STATE/kcm" --bind-address=127.0.0.1 --profiling=false --kube-api-qps=500 --kube-api-burst=1000 \
        --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
        --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
        --allocate-node-cidrs=true --cluster-cidr="$PODS" --service-cluster-ip-range="$SERVICES"
}

# Asks the API server from where clients do.
api() {
    local pki=$STATE/pki
    nsenter --net="/run/netns/${OUTSIDE}0" curl -sSf --max-time 5 --cacert "$pki/ca.crt" \
        --cert "$pki/admin.crt" --key "$pki/admin.key" "https://$API:6443$1"
}

start_control_plane() {
    start_etcd
    # Not "make_certificates ||", in which an error within would not end it.
    make_certificates &
    wait $! || fail "openssl made no certificates:" "$(tail -n 5 "$STATE/pki.log")"
    kubeconfig "$STATE/kubeconfig" admin
    start_apiserver
    wait_for kube-apiserver api /readyz
    start_controllers
    # The controllers are at work when this is there; no pod is admitted before.
    wait_for kube-controller-manager api /api/v1/namespaces/default/serviceaccounts/default
}
